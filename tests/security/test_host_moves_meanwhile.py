"""The user goes on working while a guest runs: what both touched is a conflict, nothing is lost."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSymlink,
    Whiteout,
)
from luminaguard.errors import ChangesetConflict, Unrepresentable
from luminaguard.workspace.measure.elsewhere import moved_on_host
from measuring import make_tree, sent

TREE = {"a.txt": "one\n", "d/x": "x\n", "d/y": "y\n", "other": "other\n"}
TOUCHES: dict[str, list[UpperRecord]] = {
    "changes": [UpperFile(b"a.txt", 0o644, 4, 0), FileBytes(0, b"two\n")],
    "deletes": [Whiteout(b"a.txt")],
    "makes executable": [UpperFile(b"a.txt", 0o755, 4, 0), FileBytes(0, b"one\n")],
    "turns into a link": [UpperSymlink(b"a.txt", b"d/x")],
}


def _rewrite(place: Path) -> None:
    place.write_text("by the user\n")


def _same_size(place: Path) -> None:
    """As quickly as can be after the image was made, in place, with its old times put back."""
    before = place.stat()
    place.write_text("uno\n")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(place: Path) -> None:
    fresh = place.with_name("fresh")
    fresh.write_text("one\n")
    fresh.replace(place)


def _link(place: Path) -> None:
    place.rename(place.with_name("real"))
    place.symlink_to("real")


def _delete(place: Path) -> None:
    place.unlink()


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("edit", [_rewrite, _same_size, _replace, _link, _delete])
def test_a_file_that_both_touched_is_a_conflict(
    tmp_path: Path, touch: str, edit: Callable[[Path], None]
) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    with sent(host, tmp_path) as one:
        edit(host / "a.txt")
        with pytest.raises(ChangesetConflict, match=r"a\.txt"):
            one.measure(TOUCHES[touch])
        assert "a.txt" in moved_on_host(one.root, one.base)


def test_a_file_that_only_the_user_touched_is_no_conflict_and_is_listed(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    with sent(host, tmp_path) as one:
        _rewrite(host / "other")
        assert [change.path for change in one.measure(TOUCHES["changes"]).changes] == ["a.txt"]
        assert moved_on_host(one.root, one.base) == ("other",)


@pytest.mark.guarantee("G3")
def test_a_file_made_since_survives_the_deletion_of_its_directory(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    with sent(host, tmp_path) as one:
        (host / "d/made-since").write_text("precious")
        with pytest.raises(ChangesetConflict, match="d/made-since"):
            one.measure([Whiteout(b"d")])


@pytest.mark.guarantee("G3")
def test_a_file_made_on_both_sides_is_a_conflict(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    with sent(host, tmp_path) as one:
        (host / "new").write_text("mine")
        with pytest.raises(ChangesetConflict, match="new"):
            one.measure([UpperFile(b"new", 0o644, 0, 0)])


@pytest.mark.guarantee("G3")
def test_a_directory_swapped_for_a_link_is_a_conflict_and_is_not_followed(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    outside = make_tree(tmp_path / "outside", {"x": "x\n", "y": "y\n"})
    with sent(host, tmp_path) as one:
        (host / "d").rename(host / "was-d")
        (host / "d").symlink_to(outside)
        with pytest.raises(ChangesetConflict):
            one.measure([UpperDirectory(b"d", 0o755, False, None), Whiteout(b"d/x")])


@pytest.mark.guarantee("G3")
def test_a_moved_directory_takes_no_content_that_the_guest_never_saw(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    with sent(host, tmp_path) as one:
        _rewrite(host / "d/x")
        with pytest.raises((ChangesetConflict, Unrepresentable), match="d/x"):
            one.measure([Whiteout(b"d"), UpperDirectory(b"e", 0o755, False, b"/d")])
