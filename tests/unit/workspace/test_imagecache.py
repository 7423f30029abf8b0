"""An image is made again exactly when the tree is another."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from luminaguard.workspace.imagecache import ImageCache
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.cleanfiles import CleanFiles
from luminaguard.workspace.send.gitrules import read_rules
from measuring import make_tree

KEY = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 3 + "\n"


def _quietly(place: Path) -> None:
    """Change a file as soon as its image was made, putting its times back."""
    before = place.stat()
    place.write_text("1")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def _nothing(place: Path) -> None:
    """Leave the tree alone."""


def _ignored(place: Path) -> None:
    (place.parent / "x.log").write_text("log")


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        (_nothing, True),
        (_ignored, False),
        (_quietly, False),
        (lambda place: place.chmod(0o600), False),
        (lambda place: place.unlink(), False),
    ],
)
def test_an_image_is_used_again_while_the_tree_is_unchanged(
    tmp_path: Path, change: Callable[[Path], None], *, is_same: bool
) -> None:
    tree = make_tree(
        tmp_path / "ws", {"a/a.txt": "0", "key.txt": KEY, ".env": "", ".gitignore": "*.log\n"}
    )
    with WorkspaceRoot.open(tree) as root:
        cache = ImageCache(root, tmp_path, CleanFiles())
        first = cache.image(read_rules(root, global_lines=[]))
        change(tree / "a/a.txt")
        second = cache.image(read_rules(root, global_lines=[]))
        assert (os.fstat(first.fd).st_ino == os.fstat(second.fd).st_ino) == is_same
        assert "key.txt" in second.manifest.left_out
        assert ".env" in second.manifest.left_out
        if is_same:
            assert second.manifest == first.manifest
        included = cache.image(read_rules(root, include=["key.txt"], global_lines=[]))
        assert "key.txt" in included.manifest.entries
        for image in (first, second, included):
            image.close()
        cache.close()


def test_images_that_were_handed_out_outlive_the_cache(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "ws", {"a": "content"})
    with WorkspaceRoot.open(tree) as root:
        cache = ImageCache(root, tmp_path, CleanFiles())
        image = cache.image(read_rules(root, global_lines=[]))
        cache.close()
        assert b"content" in os.pread(image.fd, image.size_bytes, 0)
        image.close()
