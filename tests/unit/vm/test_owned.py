"""Directories of living processes stay; those of dead ones go, whatever is in them."""

import subprocess
import sys
from pathlib import Path

import pytest

from luminaguard.errors import VmError
from luminaguard.vm.owned import make_owned, remove_dead, remove_tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")

KILLED = """
import os, signal, sys
from pathlib import Path
from luminaguard.vm.owned import make_owned
made = make_owned(Path(sys.argv[1]), "dead-")
(made.path / "folder").mkdir()
(made.path / "folder" / "file").write_text("left")
(made.path / "folder").chmod(0o500)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    mine = make_owned(tmp_path, "living-")
    (mine.path / "file").write_text("mine")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=30)
    assert done.returncode != 0
    assert len(list(tmp_path.glob("dead-*"))) == 1
    remove_dead(tmp_path)
    assert list(tmp_path.iterdir()) == [mine.path]
    assert (mine.path / "file").read_text() == "mine"
    mine.remove()
    mine.remove()
    assert list(tmp_path.iterdir()) == []


def test_it_is_private_and_a_place_that_is_not_is_refused(tmp_path: Path) -> None:
    made = make_owned(tmp_path / "room", "one-")
    assert made.path.stat().st_mode & 0o777 == 0o700
    made.remove()
    (tmp_path / "room").chmod(0o755)
    with pytest.raises(VmError, match="others may enter"):
        make_owned(tmp_path / "room", "one-")


def test_removing_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o755)
    (kept / "file").write_text("kept")
    room = tmp_path / "room"
    (room / "left").mkdir(parents=True)
    (room / "left" / "link").symlink_to(kept)
    (room / "also-a-link").symlink_to(kept)
    remove_dead(room)
    remove_tree(room / "left")
    assert not (room / "left").exists()
    assert (kept / "file").read_text() == "kept"
    assert kept.stat().st_mode & 0o777 == 0o755


def test_sweeping_what_is_not_there_fails_nobody(tmp_path: Path) -> None:
    remove_dead(tmp_path / "absent")
