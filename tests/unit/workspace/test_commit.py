"""What a commit leaves on the host, when it goes well and when it does not."""

import errno
import os
from pathlib import Path

import pytest

from luminaguard.domain.changeset import Change, ChangeKind, Changeset, Entry, EntryType
from luminaguard.errors import (
    ChangesetConflict,
    RecoveryNeeded,
    Unrepresentable,
    WorkspaceError,
)
from luminaguard.testing.commits import Scene
from luminaguard.testing.disk import FailAt, StopAt, Stopped, unsynced, watched
from luminaguard.testing.trees import directory, file, identities, link, read_tree
from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.settle.recovery import Ending

BEFORE = {
    "edit.txt": file("old\n"),
    "gone.txt": file("stale\n"),
    "run.sh": file("#!/bin/sh\n", 0o644),
    "src": directory(),
    "src/a.py": file("a = 1\n"),
    "src/b.py": file("b = 1\n", 0o600),
    "old": directory(),
    "old/deep": directory(),
    "old/deep/x": file("x"),
    "link": link("src/a.py"),
    "was-file": file("f"),
    "was-dir": directory(),
    "was-dir/inside": file("i"),
    "closed": directory(0o755),
    "closed/in": file("1"),
    "shut": directory(0o555),
    "shut/in": file("1"),
    "shut-gone": directory(0o500),
    "shut-gone/deep": directory(0o555),
    "shut-gone/deep/x": file("x", 0o400),
    "shut-opens": directory(0o500),
    "shut-opens/in": file("1"),
    "kept": file("never touched"),
}
AFTER = {
    "edit.txt": file("new\n" * 1000),
    "run.sh": file("#!/bin/sh\n", 0o755),
    "src": directory(0o700),
    "src/a.py": file("a = 2\n"),
    "src/b.py": file("b = 1\n", 0o640),
    "new": directory(0o555),
    "new/deep": directory(),
    "new/deep/y": file(b"\0" * 5000 + b"y"),
    "new/link": link("../kept"),
    "link": link("src/b.py"),
    "was-file": directory(),
    "was-file/now": file("n"),
    "was-dir": file("d"),
    "closed": directory(0o555),
    "closed/in": file("2"),
    "closed/more": file("3", 0o444),
    "shut": directory(0o555),
    "shut/in": file("2"),
    "shut-opens": directory(0o555),
    "kept": file("never touched"),
}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "scene", BEFORE, AFTER)


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that must be as it was: content, modes, owners, times of modification."""
    found: dict[str, tuple[object, ...]] = {}
    for path, node in {"": directory(), **read_tree(root)}.items():
        status = (root / path).lstat()
        found[path] = (node, status.st_mode, status.st_ino, status.st_uid, status.st_mtime_ns)
    return found


@pytest.mark.guarantee("G2")
def test_a_commit_makes_exactly_the_approved_tree(scene: Scene) -> None:
    scene.commit()
    assert scene.tree == AFTER
    assert not scene.pending


@pytest.mark.guarantee("G2")
def test_content_that_is_not_what_was_approved_is_never_committed(scene: Scene) -> None:
    was = snapshot(scene.path)
    approved = file("a = 2\n").entry().sha256
    scene.spool.path(approved or "").write_bytes(b"a = 3\n")
    with pytest.raises(WorkspaceError, match="not what was approved"):
        scene.commit()
    assert snapshot(scene.path) == was
    assert not scene.pending


def test_the_returned_identities_are_those_of_the_host_now(scene: Scene) -> None:
    done = scene.commit()
    now = identities(scene.path)
    changed = {c.path for c in scene.changeset.changes if c.after is not None}
    assert changed <= done.identities.keys()
    assert done.identities == {path: now[path] for path in done.identities}


def test_the_settled_base_lets_the_next_commit_through(scene: Scene) -> None:
    scene.base |= scene.commit().identities
    entry = Entry(type=EntryType.FILE, mode=0o644, size=5, sha256=scene.spool.add(b"again"))
    change = Change(
        path="edit.txt",
        kind=ChangeKind.MODIFY,
        before=AFTER["edit.txt"].entry(),
        after=entry,
    )
    scene.changeset = Changeset(base="next", changes=(change,))
    scene.commit()
    assert (scene.path / "edit.txt").read_bytes() == b"again"


def test_files_keep_their_extended_attributes_when_they_change(scene: Scene) -> None:
    place = scene.path / "edit.txt"
    try:
        os.setxattr(place, "user.note", b"mine")
    except OSError as error:
        pytest.skip(f"this file system has no extended attributes: {error}")
    scene.base = identities(scene.path)
    scene.commit()
    assert os.getxattr(place, "user.note") == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owners_are_kept_and_new_files_belong_to_the_owner_of_their_directory(
    scene: Scene,
) -> None:
    os.chown(scene.path / "src/a.py", 1234, 2345)
    os.chown(scene.path, 1111, 2222)
    scene.base = identities(scene.path)
    scene.commit()
    owners = {
        path: ((scene.path / path).lstat().st_uid, (scene.path / path).lstat().st_gid)
        for path in ("src/a.py", "new", "new/deep/y", "new/link", "was-file/now")
    }
    assert owners.pop("src/a.py") == (1234, 2345)
    assert set(owners.values()) == {(1111, 2222)}


def test_holes_of_a_file_stay_holes(tmp_path: Path) -> None:
    size = 64 << 20
    scene = Scene(tmp_path / "scene", {}, {"sparse": file(b"\0" * size + b"end")})
    scene.commit()
    status = (scene.path / "sparse").stat()
    assert status.st_size == size + 3
    assert status.st_blocks * 512 < 4 << 20


def test_an_empty_changeset_touches_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", BEFORE, BEFORE)
    was = snapshot(scene.path)
    assert not scene.commit().identities
    assert snapshot(scene.path) == was


@pytest.mark.parametrize(
    "path", ["../out", "/etc/x", "a/../../x", "a//b", ".luminaguard-stage-1/x", "a\0b", "."]
)
def test_paths_that_no_changeset_may_hold_are_refused(scene: Scene, path: str) -> None:
    entry = Entry(type=EntryType.FILE, mode=0o644, size=1, sha256=scene.spool.add(b"x"))
    change = Change(path=path, kind=ChangeKind.CREATE, before=None, after=entry)
    scene.changeset = Changeset(base="x", changes=(change,))
    was = snapshot(scene.path)
    with pytest.raises(Unrepresentable):
        scene.commit()
    assert snapshot(scene.path) == was


def test_special_mode_bits_are_refused(scene: Scene) -> None:
    entry = Entry(type=EntryType.FILE, mode=0o4755, size=1, sha256=scene.spool.add(b"x"))
    change = Change(path="suid", kind=ChangeKind.CREATE, before=None, after=entry)
    scene.changeset = Changeset(base="x", changes=(change,))
    with pytest.raises(Unrepresentable):
        scene.commit()
    assert scene.tree == BEFORE


@pytest.mark.guarantee("G3")
def test_a_host_file_changed_before_the_commit_is_a_conflict_that_touches_nothing(
    scene: Scene,
) -> None:
    (scene.path / "edit.txt").write_text("user\n")
    was = snapshot(scene.path)
    with pytest.raises(ChangesetConflict, match=r"edit\.txt") as caught:
        scene.commit()
    assert caught.value.context["paths"] == ["edit.txt"]
    assert snapshot(scene.path) == was


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("gone.txt", lambda p: p.write_text("edited")),
        ("gone.txt", lambda p: p.unlink()),
        ("run.sh", lambda p: p.chmod(0o600)),
        ("link", lambda p: (p.unlink(), p.symlink_to("kept"))),
        ("new", lambda p: p.mkdir()),
        ("new", lambda p: p.write_text("mine")),
        ("old/deep/unlisted", lambda p: p.write_text("mine")),
        ("old/.env", lambda p: p.write_text("SECRET=1")),
        ("was-dir/.env", lambda p: p.write_text("SECRET=1")),
        ("src", lambda p: p.rename(p.with_name("moved"))),
        ("src", lambda p: (p.rename(p.with_name("moved")), p.symlink_to("moved"))),
        ("closed", lambda p: p.chmod(0o711)),
        ("closed/more", lambda p: p.symlink_to("/etc/passwd")),
        ("was-file", lambda p: (p.unlink(), p.mkdir())),
        ("edit.txt", os.utime),
        ("run.sh", os.utime),
        ("edit.txt", lambda p: (p.rename(p.with_name("x")), p.write_text("old\n"))),
        ("link", lambda p: (p.unlink(), p.symlink_to("src/a.py"))),
        ("src", lambda p: (p.rename(p.with_name("moved")), p.mkdir())),
    ],
)
def test_any_move_of_the_host_is_a_conflict_that_touches_nothing(
    scene: Scene, path: str, make
) -> None:
    make(scene.path / path)
    was = snapshot(scene.path)
    with pytest.raises(ChangesetConflict, match=path.split("/", maxsplit=1)[0]):
        scene.commit()
    assert snapshot(scene.path) == was
    assert not scene.pending


def test_a_path_that_was_never_sent_into_the_guest_cannot_be_changed(scene: Scene) -> None:
    del scene.base["edit.txt"]
    with pytest.raises(ChangesetConflict, match="never sent"):
        scene.commit()
    assert scene.tree == BEFORE


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_moment_leaves_the_tree_entirely_old_or_new(
    tmp_path: Path, code: int
) -> None:
    count = 0
    ends = set[str]()
    while True:
        scene = Scene(tmp_path / str(count), BEFORE, AFTER)
        was = snapshot(scene.path)
        fail = FailAt(count, OSError(code, os.strerror(code)))
        count += 1
        try:
            scene.commit(watched(fail, unsynced()))
        except RecoveryNeeded:
            ends.add("unsure")
            assert scene.recover().ending in {Ending.ROLLED_BACK, Ending.FINISHED}
            assert scene.tree in (BEFORE, AFTER)
        except WorkspaceError:
            ends.add("old")
            assert snapshot(scene.path) == was, f"operation {count}: {fail.failed}"
        else:
            ends.add("new")
            scene.recover()
            assert scene.tree == AFTER
        assert not scene.pending
        if not fail.failed:
            break
    assert ends == {"old", "new", "unsure"}


@pytest.mark.guarantee("G3")
def test_a_process_that_stops_at_any_operation_is_recovered_to_old_or_new(tmp_path: Path) -> None:
    count = 0
    endings = set[Ending]()
    while True:
        scene = Scene(tmp_path / str(count), BEFORE, AFTER)
        stop = StopAt(count)
        count += 1
        try:
            scene.commit(watched(stop, unsynced()))
        except Stopped:
            with_journal = scene.pending
            report = scene.recover()
            endings.add(report.ending)
            assert scene.tree == (AFTER if report.ending is Ending.FINISHED else BEFORE) or (
                not with_journal and scene.tree in (BEFORE, AFTER)
            )
            assert not report.unknown
            assert not scene.pending
        else:
            break
    assert endings == {Ending.NOTHING, Ending.ROLLED_BACK, Ending.FINISHED}


@pytest.mark.guarantee("G3")
def test_a_recovery_that_stops_at_any_operation_is_ended_by_the_next(tmp_path: Path) -> None:
    total = 0
    for first in range(20, 115, 11):
        second = 0
        while True:
            scene = Scene(tmp_path / f"{first}-{second}", BEFORE, AFTER)
            with pytest.raises(Stopped):
                scene.commit(watched(StopAt(first), unsynced()))
            stop = StopAt(second)
            try:
                scene.recover(watched(stop, unsynced()))
            except Stopped:
                scene.recover()
            assert scene.tree in (BEFORE, AFTER)
            assert not scene.pending
            second += 7
            total += 1
            if not stop.has_stopped:
                break
    assert total > 20


def test_a_workspace_with_an_unfinished_commit_takes_no_other(scene: Scene) -> None:
    with pytest.raises(Stopped):
        scene.commit(watched(StopAt(60)))
    with pytest.raises(RecoveryNeeded) as caught:
        scene.commit()
    assert caught.value.hint is not None
    assert "luminaguard recover" in caught.value.hint
    scene.recover()
    scene.base = identities(scene.path)
    scene.commit()
    assert scene.tree == AFTER


def test_only_one_process_commits_at_a_time(scene: Scene) -> None:
    with scene.store.locked(), pytest.raises(WorkspaceError, match="another LuminaGuard process"):
        scene.commit()
    scene.commit()
    assert scene.tree == AFTER


def test_a_damaged_journal_is_refused_and_nothing_is_done_by_it(scene: Scene) -> None:
    with pytest.raises(Stopped):
        scene.commit(watched(StopAt(100)))
    journal = scene.store.directory / "journal"
    raw = journal.read_bytes()
    journal.write_bytes(raw.replace(b"edit.txt", b"kept.txt"))
    was = snapshot(scene.path)
    with pytest.raises(RecoveryNeeded, match="damaged"):
        scene.recover()
    assert snapshot(scene.path) == was


def test_the_identity_of_a_path_edited_right_after_its_rename_does_not_fit(scene: Scene) -> None:
    place = scene.path / "edit.txt"
    is_placed = False

    def edit(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal is_placed
        if name == "fsync" and is_placed and place.read_bytes() == AFTER["edit.txt"].content:
            place.write_text("user, at once")
        is_placed = is_placed or (name == "exchange" and arguments[3] == "edit.txt")

    done = scene.commit(watched(edit, unsynced()))
    assert place.read_text() == "user, at once"
    assert done.identities["edit.txt"] != Identity.of(place.stat())
    assert scene.tree == AFTER | {"edit.txt": file("user, at once")}


def test_staging_leaves_the_access_time_of_nothing_but_what_it_reads(scene: Scene) -> None:
    was = (scene.path / "kept").stat()
    scene.commit()
    now = (scene.path / "kept").stat()
    assert (was.st_atime_ns, was.st_ctime_ns) == (now.st_atime_ns, now.st_ctime_ns)
