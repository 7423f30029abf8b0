"""The disk operations of a commit stay below the directory they start from."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from luminaguard.workspace.settle.posix import PosixOps, _walk  # pyright: ignore[reportPrivateUsage]

OpenDir = Callable[[int, str], int]
BOTH_WAYS = pytest.mark.parametrize(
    "open_dir", [PosixOps().open_dir, _walk], ids=["openat2", "walk"]
)


@pytest.fixture
def root_fd(tmp_path: Path):
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/out").symlink_to(tmp_path / "outside")
    (tmp_path / "root/in").symlink_to("a")
    (tmp_path / "root/file").touch()
    fd = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@BOTH_WAYS
def test_a_directory_below_opens(root_fd: int, tmp_path: Path, open_dir: OpenDir) -> None:
    fd = open_dir(root_fd, "a/b")
    assert os.fstat(fd).st_ino == (tmp_path / "root/a/b").stat().st_ino
    os.close(fd)


@BOTH_WAYS
@pytest.mark.parametrize(
    "path", ["out", "in/b", "..", "a/../..", "/etc", "file", "a/../../outside", "a/./../.."]
)
def test_no_way_leads_out_or_through_a_link(root_fd: int, open_dir: OpenDir, path: str) -> None:
    with pytest.raises(OSError, match=r"symbolic links|cross-device|Not a directory"):
        open_dir(root_fd, path)


@BOTH_WAYS
def test_another_mount_is_not_entered(open_dir: OpenDir) -> None:
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="cross-device"):
            open_dir(fd, "proc/self")
    finally:
        os.close(fd)


def test_an_exchange_loses_neither_side(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "root/one").write_text("1")
    (tmp_path / "root/two").mkdir()
    PosixOps().exchange(root_fd, "one", root_fd, "two")
    assert (tmp_path / "root/two").read_text() == "1"
    assert (tmp_path / "root/one").is_dir()


def test_a_move_never_overwrites(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "root/one").write_text("1")
    (tmp_path / "root/two").write_text("2")
    with pytest.raises(FileExistsError):
        PosixOps().move(root_fd, "one", root_fd, "two")
    assert (tmp_path / "root/two").read_text() == "2"


def test_file_capabilities_do_not_pass_to_new_content(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may set file capabilities")
    old, new = tmp_path / "old", tmp_path / "new"
    for place in (old, new):
        place.touch()
    # struct vfs_cap_data, revision 2, cap_net_raw permitted. Source: linux/capability.h
    os.setxattr(old, "security.capability", bytes.fromhex("01000002" + "00200000" + "00" * 12))
    os.setxattr(old, "user.note", b"mine")
    with old.open() as from_, new.open("r+") as to:
        PosixOps().copy_attributes(from_.fileno(), to.fileno())
    assert os.listxattr(new) == ["user.note"]
