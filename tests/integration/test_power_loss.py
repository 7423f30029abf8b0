"""A power loss after any operation of a commit, or of a recovery, leaves old or new, never a mix.

The log of a real commit is cut after every operation. For each cut, every disk that the model in
`luminaguard.testing.powerloss` says may be left is made for real, and recovered from
nothing but that disk.
"""

import os
import tempfile
import traceback
from pathlib import Path

import pytest

from luminaguard.testing.commits import Scene
from luminaguard.testing.disk import unsynced
from luminaguard.testing.powerloss import Disk, Recording, losses
from luminaguard.testing.trees import Node, directory, file, link, read_tree, remove_tree
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.settle.lock import CommitStore
from luminaguard.workspace.settle.recovery import Ending, RecoveryReport, pending, recover

BEFORE = {
    "edit": file("old"),
    "gone": file("stale"),
    "mode": file("#!/bin/sh\n", 0o644),
    "dir": directory(),
    "dir/a": file("a"),
    "old": directory(),
    "old/x": file("x"),
    "link": link("edit"),
    "flips": file("f"),
    "shut": directory(0o555),
    "shut/in": file("1"),
    "shut-gone": directory(0o555),
    "shut-gone/x": file("x"),
}
AFTER = {
    "edit": file("new, and longer"),
    "mode": file("#!/bin/sh\n", 0o755),
    "dir": directory(0o700),
    "dir/a": file("A"),
    "new": directory(0o555),
    "new/y": file("y"),
    "link": link("dir/a"),
    "flips": directory(),
    "flips/now": file("n"),
    "shut": directory(0o555),
    "shut/in": file("2"),
}

ORDINARY_UID = 65534


class Replay:
    """A disk as a power loss left it, made for real."""

    def __init__(self, disk: Disk, place: Path) -> None:
        self.place = place
        (place / "project").mkdir(parents=True)
        disk.write_out(disk.roots[0], place / "project")
        self.root = WorkspaceRoot.open(place / "project")
        self.store = CommitStore(place / "state", self.root.dev, self.root.ino)
        self.store.directory.mkdir(parents=True)
        disk.write_out(disk.roots[1], self.store.directory)

    def recover(self, recording: Recording | None = None) -> RecoveryReport:
        ops = recording.ops() if recording else unsynced()
        return recover(self.root, self.store, ops=ops)

    @property
    def tree(self) -> dict[str, Node]:
        return read_tree(self.place / "project")

    def close(self) -> None:
        self.root.close()
        remove_tree(self.place)


def recorded_commit(place: Path) -> Recording:
    scene = Scene(place, BEFORE, AFTER)
    recording = Recording([scene.path, scene.store.directory])
    scene.commit(recording.ops())
    assert scene.tree == AFTER
    scene.root.close()
    return recording


def check(replay: Replay, report: RecoveryReport) -> None:
    assert replay.tree in (BEFORE, AFTER)
    assert not report.unknown
    assert not report.kept
    assert not pending(replay.store)
    if report.ending is Ending.ROLLED_BACK:
        assert replay.tree == BEFORE
    if report.ending is Ending.FINISHED:
        assert replay.tree == AFTER


@pytest.mark.guarantee("G3")
def test_every_prefix_of_a_commit_recovers_to_entirely_old_or_entirely_new(tmp_path: Path) -> None:
    recording = recorded_commit(tmp_path / "recorded")
    endings = set[Ending]()
    for count in range(len(recording.log) + 1):
        for index, disk in enumerate(losses(recording, count, seed=1, chances=3)):
            replay = Replay(disk, tmp_path / f"{count}-{index}")
            report = replay.recover()
            check(replay, report)
            endings.add(report.ending)
            replay.close()
    assert endings == {Ending.NOTHING, Ending.ROLLED_BACK, Ending.FINISHED}


@pytest.mark.guarantee("G3")
def test_a_commit_that_answered_is_on_the_disk_whatever_is_lost(tmp_path: Path) -> None:
    recording = recorded_commit(tmp_path / "recorded")
    for index, disk in enumerate(losses(recording, len(recording.log), seed=2, chances=40)):
        replay = Replay(disk, tmp_path / str(index))
        replay.recover()
        assert replay.tree == AFTER
        replay.close()


def lose_power_twice(place: Path) -> None:
    """Cut a commit, recover, cut the recovery, and recover again."""
    recording = recorded_commit(place / "recorded")
    size = len(recording.log)
    done = 0
    for count in range(size // 2, size, 9):
        for kind, disk in enumerate(losses(recording, count, seed=3, chances=2)):
            first = Replay(disk, place / f"first-{count}-{kind}")
            second = Recording([first.place / "project", first.store.directory])
            first.recover(second)
            first.close()
            for cut in range(1, len(second.log), 8):
                for index, left in enumerate(losses(second, cut, seed=4, chances=1)):
                    replay = Replay(left, place / f"second-{count}-{kind}-{cut}-{index}")
                    check(replay, replay.recover())
                    replay.close()
                    done += 1
    assert done > 100


@pytest.mark.guarantee("G3")
def test_a_power_loss_during_recovery_is_recovered_from_too(tmp_path: Path) -> None:
    lose_power_twice(tmp_path)


@pytest.mark.guarantee("G3")
@pytest.mark.skipif(os.geteuid() != 0, reason="the tests already run as an ordinary user")
def test_a_power_loss_during_recovery_is_recovered_from_by_an_ordinary_user_too() -> None:
    """Read-only directories stop everybody but root, so order matters more."""
    place = Path(tempfile.mkdtemp())
    os.chown(place, ORDINARY_UID, ORDINARY_UID)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID)
            os.setresuid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID)
            lose_power_twice(place)
            code = 0
        except BaseException:  # noqa: BLE001 - the parent learns of it by the exit status
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        remove_tree(place)
