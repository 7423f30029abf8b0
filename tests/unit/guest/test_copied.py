"""A copy of a workspace, and what a comparison says of it."""

import os
import stat
from pathlib import Path

import pytest

from luminaguard_guest import copied, overlay, wire
from luminaguard_guest.faults import GuestFault


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A small workspace and its copy."""
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "folder/below").mkdir(parents=True)
    (old / "folder/below/file").write_text("text\n")
    (old / "program").write_text("#!/bin/sh\n")
    (old / "program").chmod(0o4755)
    (old / "link").symlink_to("nowhere")
    os.utime(old / "program", ns=(5, 7))
    os.utime(old / "folder", ns=(5, 9))
    new.mkdir()
    copied.copy(os.fsencode(old), os.fsencode(new))
    return old, new


def told(trees: tuple[Path, Path], skip: tuple[bytes, ...] = ()) -> list[wire.Message]:
    return list(copied.changes(str(trees[0]), str(trees[1]), skip))


def by_path(records: list[wire.Message]) -> dict[bytes, wire.Message]:
    kinds = (wire.UpperDirectory, wire.UpperFile, wire.UpperSymlink, wire.UpperSpecial)
    return {one.path: one for one in records if isinstance(one, (*kinds, wire.Whiteout))}


def test_a_copy_has_contents_modes_times_and_links(trees: tuple[Path, Path]) -> None:
    new = trees[1]
    assert (new / "folder/below/file").read_text() == "text\n"
    about = (new / "program").stat()
    assert (stat.S_IMODE(about.st_mode), about.st_mtime_ns) == (0o4755, 7)
    assert (new / "folder").stat().st_mtime_ns == 9
    assert os.readlink(new / "link") == "nowhere"
    assert told(trees) == [wire.UpperDirectory(b"", 0o755, False, None)]


def test_the_same_size_and_time_hide_no_change(trees: tuple[Path, Path]) -> None:
    program = trees[1] / "program"
    program.write_text("#!/bin/zz\n"[: len("#!/bin/sh\n")])
    program.chmod(0o4755)
    os.utime(program, ns=(5, 7))
    records = told(trees)
    assert records[1:] == [
        wire.UpperFile(b"program", 0o4755, 10, 7),
        wire.FileBytes(0, b"#!/bin/zz\n"),
    ]


def test_each_kind_of_change_is_told_below_its_directories(trees: tuple[Path, Path]) -> None:
    new = trees[1]
    (new / "folder/below/file").unlink()
    (new / "link").unlink()
    (new / "link").symlink_to("elsewhere")
    (new / "program").unlink()
    (new / "program").mkdir(mode=0o700)
    os.mkfifo(new / "program" / "pipe")
    (new / "folder").chmod(0o700)
    found = by_path(told(trees))
    assert found[b"folder"] == wire.UpperDirectory(b"folder", 0o700, False, None)
    assert isinstance(found[b"folder/below"], wire.UpperDirectory)
    assert found[b"folder/below/file"] == wire.Whiteout(b"folder/below/file")
    assert found[b"link"] == wire.UpperSymlink(b"link", b"elsewhere")
    assert found[b"program"] == wire.UpperDirectory(b"program", 0o700, True, None)
    assert found[b"program/pipe"] == wire.UpperSpecial(b"program/pipe", "fifo")


def test_a_directory_that_became_a_file_is_one_change(trees: tuple[Path, Path]) -> None:
    new = trees[1]
    (new / "folder/below/file").unlink()
    (new / "folder/below").rmdir()
    (new / "folder/below").write_text("now a file")
    assert list(by_path(told(trees))) == [b"", b"folder", b"folder/below"]


def test_skipped_files_are_listed_without_their_bytes(trees: tuple[Path, Path]) -> None:
    (trees[1] / "folder/made").write_text("much")
    records = told(trees, (b"folder",))
    assert any(isinstance(record, wire.UpperFile) for record in records)
    assert not any(isinstance(record, wire.FileBytes) for record in records)


def test_a_tree_that_cannot_be_read_is_a_fault_not_an_empty_change(tmp_path: Path) -> None:
    with pytest.raises(GuestFault):
        list(copied.changes(str(tmp_path / "none"), str(tmp_path / "nothing")))


def test_the_memory_of_a_copy_is_counted_in_pages(trees: tuple[Path, Path]) -> None:
    assert copied.size(os.fsencode(trees[0])) == 5 * 4096


def test_marks_are_read_from_the_asked_attributes_only(tmp_path: Path) -> None:
    for name in ("opaque", "plain"):
        (tmp_path / name).mkdir()
    try:
        os.setxattr(tmp_path / "opaque", "user.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"this file system takes no user attributes: {error}")

    def opaque(marks: str) -> set[bytes]:
        records = overlay.harvest(str(tmp_path), marks=marks)
        return {one.path for one in records if isinstance(one, wire.UpperDirectory) and one.opaque}

    assert opaque(overlay.USER) == {b"opaque"}
    assert opaque(overlay.TRUSTED) == set()
