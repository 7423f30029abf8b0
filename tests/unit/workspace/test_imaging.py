"""The image of a workspace: what the kernel reads out of it is what the host had."""

import os
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.errors import WorkspaceError
from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.cleanfiles import CleanFiles
from luminaguard.workspace.send.gitrules import read_rules
from luminaguard.workspace.send.imaging import WorkspaceImage, build_image
from luminaguard.workspace.send.scan import scan
from measuring import make_tree, shape_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting an image needs root")
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 3 + "\n"


def imaged(
    tree: Path,
    cache: Path,
    *,
    include: tuple[str, ...] = (),
    clean: CleanFiles | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> WorkspaceImage:
    cache.mkdir(exist_ok=True)
    with WorkspaceRoot.open(tree) as root:
        rules = read_rules(root, include=include, global_lines=[])
        manifest = scan(root, rules)
        if meanwhile is not None:
            meanwhile()
        return build_image(root, manifest, cache, rules=rules, clean=clean)


def read_back(image: WorkspaceImage, place: Path) -> Path:
    """Let the independent reader of erofs-utils check and unpack the image."""
    place.mkdir(exist_ok=True)
    file = place / "image"
    file.write_bytes(os.pread(image.fd, image.size_bytes, 0))
    out = place / "out"
    subprocess.run(["fsck.erofs", f"--extract={out}", file], check=True, capture_output=True)
    return out


SOME = {
    "a.txt": "hello\n",
    "dir/sub/deep.bin": b"\0\1" * 9000,
    "dir/exactly-one-block": b"x" * 4096,
    "dir/one-more": b"x" * 4097,
    "nothing": "",
    "empty/": None,
    "\u00fcnic\u00f6de/\U0001f600": "x",
    "n" * 255: "longest name",
}


@needs_root
@pytest.mark.root
def test_the_kernel_reads_the_host_s_tree_out_of_the_image(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path / "ws", SOME | {f"many/{n:04}-{'x' * 60}": str(n) for n in range(700)}
    )
    (tree / "link").symlink_to("dir/sub/deep.bin")
    (tree / "dangling").symlink_to("/no/where/" + "x" * 3000)
    (tree / "a.txt").chmod(0o750)
    os.link(tree / "a.txt", tree / "hard")
    image = imaged(tree, tmp_path / "cache")
    (tmp_path / "image").write_bytes(os.pread(image.fd, image.size_bytes, 0))
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    command = ["mount", "-t", image.filesystem, "-o", "loop,ro", tmp_path / "image", mounted]
    subprocess.run(command, check=True)
    try:
        assert shape_of(mounted) == shape_of(tree)
        for path in shape_of(tree):
            ours, theirs = (tree / path).lstat(), (mounted / path).lstat()
            assert (theirs.st_uid, theirs.st_gid) == (1000, 1000)
            assert ours.st_mtime_ns == theirs.st_mtime_ns
        assert (mounted / "dir").stat().st_nlink == 3
        assert sorted(os.listdir(mounted / "many")) == sorted(os.listdir(tree / "many"))
        assert not (mounted / "many" / "absent").exists()
    finally:
        subprocess.run(["umount", mounted], check=True)
        image.close()


NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=40)
TREES = st.recursive(
    st.binary(max_size=9000),
    lambda below: st.dictionaries(NAMES.filter(lambda name: name not in {".", ".."}), below),
    max_leaves=25,
)


@settings(max_examples=40, deadline=None)
@given(tree=TREES.filter(lambda tree: isinstance(tree, dict)))
def test_any_tree_can_be_read_back(tree: dict[str, object]) -> None:
    def make(place: Path, content: object) -> None:
        if isinstance(content, bytes):
            place.write_bytes(content)
        elif isinstance(content, dict):
            place.mkdir()
            for name, below in content.items():
                make(place / name, below)

    with tempfile.TemporaryDirectory() as name:
        host = Path(name) / "ws"
        make(host, tree)
        image = imaged(host, Path(name) / "cache")
        sent = {path: shape_of(host)[path] for path in image.manifest.entries}
        assert shape_of(read_back(image, Path(name) / "back")) == sent
        image.close()


def test_the_image_has_no_name_and_its_descriptor_only_reads(tmp_path: Path) -> None:
    image = imaged(make_tree(tmp_path / "ws", SOME), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    status = os.fstat(image.fd)
    assert (status.st_nlink, stat.S_IMODE(status.st_mode)) == (0, 0o600)
    assert status.st_size == image.size_bytes
    assert image.size_bytes % 4096 == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(image.fd, b"x")
    assert not os.get_inheritable(image.fd)
    image.close()


@pytest.mark.guarantee("G3")
def test_a_file_that_moved_since_the_scan_is_read_as_it_is_now(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "ws", SOME)
    image = imaged(
        tree,
        tmp_path / "cache",
        meanwhile=lambda: (tree / "a.txt").write_text("quite another text"),
    )
    assert image.manifest.entries["a.txt"].identity == Identity.of((tree / "a.txt").stat())
    assert (read_back(image, tmp_path / "back") / "a.txt").read_text() == "quite another text"
    image.close()


def test_what_went_away_since_the_scan_is_not_in_the_image(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "ws", SOME)
    outside = make_tree(tmp_path / "outside", {"deep.bin": "stolen"})

    def meanwhile() -> None:
        (tree / "a.txt").unlink()
        (tree / "nothing").unlink()
        os.mkfifo(tree / "nothing")
        (tree / "dir/sub").rename(tmp_path / "gone")
        (tree / "dir/sub").symlink_to(outside)

    image = imaged(tree, tmp_path / "cache", meanwhile=meanwhile)
    assert not {"a.txt", "nothing", "dir/sub/deep.bin"} & image.manifest.entries.keys()
    assert image.manifest.left_out["nothing"] == "changed while it was read"
    assert b"stolen" not in os.pread(image.fd, image.size_bytes, 0)
    image.close()


def test_a_missing_cache_directory_is_an_error_with_a_hint(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "ws", SOME)
    with WorkspaceRoot.open(tree) as root:
        rules = read_rules(root, global_lines=[])
        with pytest.raises(WorkspaceError) as caught:
            build_image(root, scan(root, rules), tmp_path / "missing", rules=rules)
    assert "room" in (caught.value.hint or "")


def test_recently_changed_files_carry_their_digest(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "ws", {"fresh": "x"})
    image = imaged(tree, tmp_path / "cache")
    assert image.manifest.entries["fresh"].sha256 == (
        "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    )
    image.close()


@pytest.mark.guarantee("G10")
def test_a_file_that_holds_a_secret_stays_on_the_host_unless_included(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "ws", {"docs/key.txt": PRIVATE_KEY, "fine.txt": "fine"})
    image = imaged(tree, tmp_path / "cache")
    assert image.manifest.left_out == {"docs/key.txt": "secret: private key"}
    assert b"MIIEvQ" not in os.pread(image.fd, image.size_bytes, 0)
    image.close()
    image = imaged(tree, tmp_path / "cache", include=("docs/key.txt",))
    assert "docs/key.txt" in image.manifest.entries
    image.close()


@pytest.mark.guarantee("G10")
def test_remote_credentials_are_cut_out_of_git_s_configuration(tmp_path: Path) -> None:
    config = '[remote "origin"]\n\turl = https://me:hunter2-password@example.org/x.git\n'
    module = '[http "https://example.org/"]\n\textraheader = AUTHORIZATION: basic aHVudGVyMg==\n'
    tree = make_tree(
        tmp_path / "ws",
        {".git/config": config, ".git/modules/sub/config": module, "config": config},
    )
    image = imaged(tree, tmp_path / "cache")
    content = os.pread(image.fd, image.size_bytes, 0)
    assert content.count(b"hunter2-password") == 1  # the file that is not git's stays as it is
    assert b"aHVudGVyMg" not in content
    assert b"https://example.org/x.git" in content
    assert image.manifest.entries[".git/config"].substituted
    assert image.manifest.entries[".git/modules/sub/config"].substituted
    assert not image.manifest.entries["config"].substituted
    image.close()


def test_a_clean_git_configuration_is_sent_as_it_is(tmp_path: Path) -> None:
    config = "[core]\n\tbare = false\n[remote]\n\turl = git@example.org:x.git\n"
    tree = make_tree(tmp_path / "ws", {".git/config": config})
    image = imaged(tree, tmp_path / "cache")
    assert not image.manifest.entries[".git/config"].substituted
    image.close()


def test_clean_files_are_remembered_between_runs_by_identity(tmp_path: Path) -> None:
    mark = Identity(dev=1, ino=2, size=3, mtime_ns=4, ctime_ns=5)
    moved = Identity(dev=1, ino=2, size=3, mtime_ns=4, ctime_ns=6)
    kept = tmp_path / "clean"
    first = CleanFiles(kept)
    first.add(mark)
    first.save()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    second = CleanFiles(kept)
    assert second.holds(mark)
    assert not second.holds(moved)
    kept.write_bytes(b"another version....." + kept.read_bytes()[16:])
    assert not CleanFiles(kept).holds(mark)
    kept.write_bytes(kept.read_bytes()[:-3])
    assert not CleanFiles(kept).holds(mark)


@pytest.mark.guarantee("G10")
def test_a_file_that_just_changed_is_never_remembered_as_clean(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "ws", {"x": "fine"})
    clean = CleanFiles(tmp_path / "clean")
    image = imaged(tree, tmp_path / "cache", clean=clean)
    assert not clean.holds(image.manifest.entries["x"].identity)
    image.close()
