"""Landlock's walls, put up around a process of the test's own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from luminaguard_guest import landlock, privileges
from luminaguard_guest.landlock import Walls

pytestmark = pytest.mark.skipif(
    landlock.version() < landlock.OLDEST, reason="this kernel has no usable Landlock"
)

LISTING = "1 0 0:1 / {place} rw - overlay workspace rw\n2 0 0:2 / /elsewhere rw - tmpfs other rw\n"


def inside(walls: Walls, act: Callable[[], object]) -> int:
    """Do something in a child behind walls; return the error number, 0 for none."""
    pid = os.fork()
    if not pid:
        status = 255
        try:
            privileges._prctl(38, 1)  # pyright: ignore[reportPrivateUsage] # no_new_privs
            walls.put_on()
            act()
            status = 0
        except OSError as error:
            status = error.errno or 254
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Walls]:
    """A workspace, a directory outside, and walls that know of the first only."""
    workspace = tmp_path / "work space"
    outside = tmp_path / "outside"
    workspace.mkdir()
    listing = tmp_path / "mountinfo"
    listing.write_text(LISTING.format(place=str(workspace).replace(" ", "\\040")))
    return workspace, outside, Walls(str(listing), ("/dev/null", "/not/there"))


def test_a_workspace_can_be_written_and_changed_as_ever(
    places: tuple[Path, Path, Walls],
) -> None:
    workspace, _, walls = places

    def work() -> None:
        (workspace / "a").mkdir()
        (workspace / "b").mkdir()
        (workspace / "a/file").write_text("x")
        (workspace / "a/file").rename(workspace / "b/file")
        (workspace / "b/file").write_text("")
        os.link(workspace / "b/file", workspace / "a/link")
        os.symlink("b", workspace / "to")
        os.mkfifo(workspace / "pipe")
        (workspace / "a/link").unlink()
        (workspace / "a").rmdir()

    assert inside(walls, work) == 0
    assert sorted(os.listdir(workspace)) == ["b", "pipe", "to"]


def test_outside_everything_can_be_read_and_nothing_changed(
    places: tuple[Path, Path, Walls],
) -> None:
    _, outside, walls = places
    assert inside(walls, lambda: Path(__file__).read_bytes()) == 0
    assert inside(walls, lambda: os.listdir(outside.parent)) == 0
    assert inside(walls, outside.mkdir) == 13
    assert not outside.exists()
    assert inside(walls, lambda: os.open(__file__, os.O_WRONLY)) == 13
    assert inside(walls, lambda: os.truncate(__file__, 0)) == 13
    assert inside(walls, lambda: os.close(os.open("/dev/null", os.O_WRONLY))) == 0


@pytest.mark.skipif(landlock.version() < 6, reason="this kernel's Landlock knows no scopes")
def test_nobody_outside_can_be_signaled(places: tuple[Path, Path, Walls]) -> None:
    parent = os.getpid()
    assert inside(places[2], lambda: os.kill(parent, 0)) == 1
