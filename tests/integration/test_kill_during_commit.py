"""`kill -9` at random moments of commits of 200 files: old or new, none torn, every time.

A forked child commits with the real operations, fsyncs included. When it reaches a random operation
it says so, and is killed from outside while it goes on, so the moment is not one between two
operations but any. A second process recovers; this one looks.
"""

import os
import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from luminaguard.testing.commits import Scene
from luminaguard.testing.disk import CHANGES, watched
from luminaguard.testing.trees import Node, changeset_between, file, identities
from luminaguard.workspace.settle.fileops import real_ops

FILES = 200
MOMENTS = 200

BEFORE: dict[str, Node] = {f"f{i:03}": file(f"old {i}\n" * 9) for i in range(FILES) if i % 10}
AFTER: dict[str, Node] = {f"f{i:03}": file(f"new {i}\n" * 9) for i in range(FILES) if i % 10 != 1}


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process and return its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the parent learns of it by the exit status
        traceback.print_exc()
    finally:
        os._exit(code)


def operations(place: Path) -> int:
    """How many operations one whole commit takes."""
    count = 0

    def tally(name: str, _arguments: tuple[object, ...]) -> None:
        nonlocal count
        count += name in CHANGES

    scene = Scene(place, BEFORE, AFTER)
    scene.commit(watched(tally))
    scene.root.close()
    return count


def kill_at(scene: Scene, moment: int) -> int:
    """Commit in a child and kill it when it has reached operation `moment`; return its status."""
    hears, says = os.pipe()

    def report(name: str, _arguments: tuple[object, ...]) -> None:
        nonlocal moment
        moment -= name in CHANGES
        if moment == 0:
            os.write(says, b"!")
            moment -= 1

    def work() -> None:
        os.close(hears)
        scene.commit(watched(report, real_ops()))

    pid = in_child(work)
    os.close(says)
    os.read(hears, 1)  # returns as well when the child has ended before
    os.kill(pid, signal.SIGKILL)
    os.close(hears)
    return os.waitpid(pid, 0)[1]


def recover(scene: Scene) -> None:
    """What the next process does."""
    assert not scene.recover().unknown


@pytest.mark.guarantee("G3")
@pytest.mark.timeout(300)
def test_two_hundred_kills_during_commits_of_two_hundred_files_leave_none_torn(
    tmp_path: Path,
) -> None:
    dice = random.Random(20)
    total = operations(tmp_path / "counted")
    scene = Scene(tmp_path / "scene", BEFORE, AFTER)
    there, back = scene.changeset, changeset_between(AFTER, BEFORE, scene.spool)
    old, new = BEFORE, AFTER
    ends = Counter[str]()
    for index in range(MOMENTS):
        scene.changeset = there if old is BEFORE else back
        scene.base = identities(scene.path)
        status = kill_at(scene, dice.randint(1, total))
        was_pending = scene.pending
        recovered = os.waitpid(in_child(lambda: recover(scene)), 0)[1]
        assert recovered == 0
        assert not scene.pending
        tree = scene.tree
        assert tree in (BEFORE, AFTER), f"moment {index} left a torn tree"
        if os.WIFEXITED(status):
            assert tree == new
        ends[f"{'pending' if was_pending else 'clean'}-{'new' if tree == new else 'old'}"] += 1
        if tree == new:
            old, new = new, old
    assert ends["pending-old"] > MOMENTS // 4, f"the kills missed the commits: {ends}"
    assert ends.total() == MOMENTS
