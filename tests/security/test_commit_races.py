"""Somebody changes the workspace at the worst moment: nothing of theirs is ever lost.

Each test makes its change at an exact point of a commit, or between a crash and its recovery.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from luminaguard.errors import ChangesetConflict, RecoveryNeeded, WorkspaceError
from luminaguard.testing.commits import Scene
from luminaguard.testing.disk import ActBefore, StopAt, Stopped, unsynced, watched
from luminaguard.testing.trees import directory, file, link, read_tree
from luminaguard.workspace.settle.recovery import Ending

BEFORE = {
    "edit": file("old"),
    "gone": file("stale"),
    "mode": file("#!/bin/sh\n", 0o644),
    "src": directory(),
    "src/a": file("a"),
    "old": directory(),
    "old/x": file("x"),
    "link": link("edit"),
}
AFTER = {
    "edit": file("new"),
    "mode": file("#!/bin/sh\n", 0o755),
    "src": directory(),
    "src/a": file("A"),
    "link": link("src/a"),
    "made": file("made"),
}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "scene", BEFORE, AFTER)


def on(operation: str, name: str) -> Callable[[str, tuple[object, ...]], bool]:
    return lambda done, arguments: done == operation and name in arguments


def edit(place: Path) -> None:
    place.write_text("the user's")


def replace(place: Path) -> None:
    incoming = place.with_name("editor.tmp")
    incoming.write_text("the user's")
    incoming.rename(place)


def same_size_and_time(place: Path) -> None:
    was = place.stat()
    place.write_bytes(b"X" * was.st_size)
    os.utime(place, ns=(was.st_atime_ns, was.st_mtime_ns))


RACES = [
    ("modify", "exchange", "edit", edit),
    ("modify", "exchange", "edit", replace),
    ("modify", "exchange", "edit", same_size_and_time),
    ("modify", "exchange", "edit", lambda p: p.unlink()),
    ("modify", "exchange", "edit", lambda p: p.chmod(0o600)),
    ("modify", "exchange", "edit", lambda p: (p.unlink(), p.mkdir(), (p / "in").write_text("u"))),
    ("modify", "exchange", "edit", lambda p: (p.unlink(), p.symlink_to("/etc/passwd"))),
    ("delete", "move", "gone", edit),
    ("delete", "move", "gone", replace),
    ("delete", "move", "gone", same_size_and_time),
    ("delete", "move", "gone", lambda p: p.unlink()),
    ("create", "move", "made", edit),
    ("create", "move", "made", lambda p: p.mkdir()),
    ("create", "move", "made", lambda p: p.symlink_to("/etc/passwd")),
    ("rmdir", "move", "old", lambda p: (p / ".env").write_text("SECRET=1")),
    ("rmdir", "move", "old", lambda p: p.chmod(0o700)),
    ("link", "exchange", "link", lambda p: (p.unlink(), p.symlink_to("mode"))),
    ("link", "exchange", "link", lambda p: (p.unlink(), edit(p))),
    ("chmod", "open_handle", "mode", edit),
    ("chmod", "open_handle", "mode", replace),
    ("chmod", "open_handle", "mode", lambda p: p.chmod(0o600)),
    ("chmod", "open_handle", "mode", lambda p: p.unlink()),
]


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize(("kind", "operation", "name", "act"), RACES)
def test_a_change_between_check_and_rename_is_a_conflict_and_survives(
    tmp_path: Path, kind: str, operation: str, name: str, act
) -> None:
    """The tree afterwards is the old one with the user's change, and nothing else."""
    scene = Scene(tmp_path / "scene", BEFORE, AFTER)
    expected = Scene(tmp_path / "expected", BEFORE, AFTER)
    act(expected.path / name)
    race = ActBefore(on(operation, name), lambda: act(scene.path / name))
    with pytest.raises(ChangesetConflict, match=name):
        scene.commit(watched(race, unsynced()))
    assert race.acted
    assert scene.tree == expected.tree
    assert not scene.pending


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize(("kind", "operation", "name", "act"), RACES)
def test_a_crash_at_any_point_after_such_a_change_loses_nothing(
    tmp_path: Path, kind: str, operation: str, name: str, act
) -> None:
    expected = Scene(tmp_path / "expected", BEFORE, AFTER)
    act(expected.path / name)
    mine = {p: node for p, node in expected.tree.items() if BEFORE.get(p) != node}
    for count in range(40, 90, 3):
        scene = Scene(tmp_path / str(count), BEFORE, AFTER)
        race = ActBefore(on(operation, name), lambda scene=scene: act(scene.path / name))
        stop = StopAt(count)
        with pytest.raises((Stopped, ChangesetConflict)):
            scene.commit(watched(stop, watched(race, unsynced())))
        scene.recover()
        scene.recover(acknowledge=True)
        assert not scene.pending
        if race.acted:
            kept = read_tree(scene.store.preserved) if scene.store.preserved.exists() else {}
            contents = {
                (n.type, n.content, n.target) for n in (*scene.tree.values(), *kept.values())
            }
            for node in mine.values():
                assert (node.type, node.content, node.target) in contents, (count, name)


@pytest.mark.guarantee("G3")
def test_a_write_through_a_descriptor_held_since_before_is_not_lost(scene: Scene) -> None:
    """An editor that has the old file open writes after the exchange was found right."""
    with (scene.path / "edit").open("r+") as held:

        def write() -> None:
            held.write("late")
            held.flush()

        race = ActBefore(on("move", "made"), write)
        with pytest.raises(ChangesetConflict, match="edit"):
            scene.commit(watched(race, unsynced()))
    assert race.acted
    assert scene.tree == BEFORE | {"edit": file("late")}


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize("moment", ["before the parent is opened", "right before the rename"])
def test_a_symlink_swapped_in_for_a_parent_does_not_lead_outside(
    tmp_path: Path, moment: str
) -> None:
    scene = Scene(tmp_path / "scene", BEFORE, AFTER)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("a")

    def swap() -> None:
        (scene.path / "src").rename(scene.path / "aside")
        (scene.path / "src").symlink_to(outside)

    is_applying = False

    def fits(name: str, arguments: tuple[object, ...]) -> bool:
        nonlocal is_applying
        is_applying = is_applying or (name in {"exchange", "move"} and "edit" in arguments)
        if moment == "right before the rename":
            return name == "exchange" and arguments[3] == "a"
        return is_applying and name == "open_dir" and arguments[1] == "src"

    race = ActBefore(fits, swap)
    with pytest.raises(ChangesetConflict, match="src/a"):
        scene.commit(watched(race, unsynced()))
    assert race.acted
    assert read_tree(outside) == {"a": file("a")}
    assert (scene.path / "aside/a").read_text() == "a"
    assert not scene.pending


@pytest.mark.guarantee("G3")
def test_a_parent_swapped_for_another_directory_is_noticed(scene: Scene) -> None:
    def swap() -> None:
        (scene.path / "src").rename(scene.path / "aside")
        (scene.path / "src").mkdir()
        (scene.path / "src/a").write_text("a")

    race = ActBefore(on("exchange", "a"), swap)
    with pytest.raises(ChangesetConflict, match="its directory was moved"):
        scene.commit(watched(race, unsynced()))
    expected = BEFORE | {"aside": directory(), "aside/a": file("a")}
    assert scene.tree == expected


@pytest.mark.guarantee("G3")
def test_a_parent_moved_out_of_the_workspace_does_not_take_the_commit_with_it(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path / "scene", BEFORE, AFTER)
    away = tmp_path / "away"
    race = ActBefore(on("exchange", "a"), lambda: (scene.path / "src").rename(away) and None)
    with pytest.raises(ChangesetConflict, match="src/a"):
        scene.commit(watched(race, unsynced()))
    assert (away / "a").read_text() == "a"
    assert (scene.path / "edit").read_text() == "old"


@pytest.mark.guarantee("G3")
def test_a_conflict_at_the_199th_of_200_files_takes_back_all_others(tmp_path: Path) -> None:
    before = {f"f{i:03}": file(f"old {i}") for i in range(200)}
    after = {f"f{i:03}": file(f"new {i}") for i in range(200)}
    scene = Scene(tmp_path / "scene", before, after)
    times = {p: (scene.path / p).lstat().st_mtime_ns for p in [".", *before]}
    race = ActBefore(on("exchange", "f198"), lambda: edit(scene.path / "f198"))
    with pytest.raises(ChangesetConflict, match="f198"):
        scene.commit(watched(race, unsynced()))
    assert scene.tree == before | {"f198": file("the user's")}
    del times["f198"]
    assert {p: (scene.path / p).lstat().st_mtime_ns for p in times} == times


@pytest.mark.guarantee("G3")
def test_a_left_out_file_in_a_directory_that_the_guest_deleted_is_never_lost(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path / "scene", BEFORE, AFTER)
    (scene.path / "old/.env").write_text("SECRET=1")
    was = scene.tree
    with pytest.raises(ChangesetConflict, match=r"old.*\.env"):
        scene.commit()
    assert scene.tree == was


def test_staged_content_that_another_program_changed_never_enters_the_tree(scene: Scene) -> None:
    def tamper() -> None:
        (stage,) = scene.path.glob(".luminaguard-stage-*")
        for slot in stage.iterdir():
            if slot.is_file() and not slot.is_symlink() and slot.read_bytes() == b"new":
                slot.write_bytes(b"evil")

    race = ActBefore(on("exchange", "edit"), lambda: None)
    tampering = ActBefore(lambda name, _: name in {"move", "exchange"} and staged(scene), tamper)
    with pytest.raises(WorkspaceError, match="another program"):
        scene.commit(watched(race, watched(tampering, unsynced())))
    assert {p: n for p, n in scene.tree.items() if not p.startswith(".luminaguard")} == BEFORE


def staged(scene: Scene) -> bool:
    return any(scene.path.glob(".luminaguard-stage-*"))


def test_the_staging_directory_is_private(scene: Scene) -> None:
    modes = set[int]()

    def look(name: str, _arguments: tuple[object, ...]) -> None:
        modes.update(
            stat.S_IMODE(s.stat().st_mode) for s in scene.path.glob(".luminaguard-stage-*")
        )

    scene.commit(watched(look, unsynced()))
    assert modes == {0o700}


# Between a crash and its recovery.


def crashed(place: Path, *, after: str = "made") -> Scene:
    """Return a scene whose commit died when all renames but the one of `after` were done."""
    scene = Scene(place, BEFORE, AFTER)
    done = False

    def stop(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        done = done or (name in {"move", "exchange"} and after in arguments)
        if done and name != "close":
            raise Stopped

    with pytest.raises(Stopped):
        scene.commit(watched(stop, unsynced()))
    return scene


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize("change", [edit, replace])
def test_a_users_edit_between_crash_and_recovery_survives(tmp_path: Path, change) -> None:
    scene = crashed(tmp_path / "scene")
    assert (scene.path / "edit").read_text() == "new"
    change(scene.path / "edit")
    report = scene.recover()
    assert report.ending is Ending.UNKNOWN
    assert [unknown.path for unknown in report.unknown] == ["edit"]
    assert scene.tree == BEFORE | {"edit": file("the user's")}
    assert Path(report.unknown[0].preserved).read_text() == "old"
    assert report.is_blocked


@pytest.mark.guarantee("G3")
def test_an_unknown_path_blocks_the_workspace_until_the_user_has_seen_the_report(
    tmp_path: Path,
) -> None:
    scene = crashed(tmp_path / "scene")
    edit(scene.path / "edit")
    first = scene.recover()
    assert scene.recover() == first
    with pytest.raises(RecoveryNeeded):
        scene.commit()
    last = scene.recover(acknowledge=True)
    assert last.unknown == first.unknown
    assert not last.is_blocked
    assert not scene.pending
    assert Path(first.unknown[0].preserved).exists()


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize(
    ("path", "change", "preserved"),
    [
        ("edit", lambda p: p.unlink(), "old"),
        ("gone", edit, "stale"),
        ("gone", lambda p: p.mkdir(), "stale"),
        ("old", edit, ""),
        ("src/a", edit, "A"),
        ("mode", edit, ""),
        ("link", lambda p: (p.unlink(), p.symlink_to("mode")), "link"),
    ],
)
def test_every_kind_of_change_after_a_crash_survives_with_both_versions(
    tmp_path: Path, path: str, change, preserved: str
) -> None:
    scene = crashed(tmp_path / "scene")
    change(scene.path / path)
    mine = {p: n for p, n in scene.tree.items() if p == path}
    report = scene.recover()
    assert path in [unknown.path for unknown in report.unknown]
    assert {p: n for p, n in scene.tree.items() if p == path} == mine
    (unknown,) = (each for each in report.unknown if each.path == path)
    if preserved == "link":
        assert str(Path(unknown.preserved).readlink()) == "edit"
    elif preserved:
        assert Path(unknown.preserved).read_text() == preserved
    others = {p: n for p, n in BEFORE.items() if p.split("/")[0] != path.split("/", maxsplit=1)[0]}
    assert {p: n for p, n in scene.tree.items() if p in others} == others


@pytest.mark.guarantee("G3")
def test_a_file_put_into_a_directory_that_recovery_would_remove_survives(tmp_path: Path) -> None:
    after = AFTER | {"new": directory(), "new/in": file("in"), "zz": file("last")}
    scene = Scene(tmp_path / "scene", BEFORE, after)
    stop_at = ActBefore(on("move", "in"), lambda: None)

    def stop(name: str, arguments: tuple[object, ...]) -> None:
        stop_at(name, arguments)
        if stop_at.acted and name != "close":
            raise Stopped

    with pytest.raises(Stopped):
        scene.commit(watched(stop, unsynced()))
    (scene.path / "new/mine").write_text("the user's")
    report = scene.recover()
    assert [unknown.path for unknown in report.unknown] == ["new"]
    assert (scene.path / "new/mine").read_text() == "the user's"


@pytest.mark.guarantee("G3")
def test_old_content_forged_in_the_staging_directory_is_never_put_back(tmp_path: Path) -> None:
    scene = crashed(tmp_path / "scene")
    (stage,) = scene.path.glob(".luminaguard-stage-*")
    forged = [s for s in stage.iterdir() if s.is_file() and s.read_bytes() == b"old"]
    forged[0].write_bytes(b"evil")
    report = scene.recover()
    assert [unknown.path for unknown in report.unknown] == ["edit"]
    assert (scene.path / "edit").read_text() == "new"
    assert Path(report.unknown[0].preserved).read_text() == "evil"


@pytest.mark.guarantee("G3")
def test_a_staging_directory_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    scene = crashed(tmp_path / "scene")
    (stage,) = scene.path.glob(".luminaguard-stage-*")
    away = tmp_path / "away"
    stage.rename(away)
    stage.symlink_to(away)
    was = read_tree(away)
    report = scene.recover()
    assert read_tree(away) == was
    assert report.is_blocked
    assert "edit" in [unknown.path for unknown in report.unknown]


def test_what_the_user_put_into_the_staging_directory_is_kept_and_named(tmp_path: Path) -> None:
    scene = crashed(tmp_path / "scene")
    (stage,) = scene.path.glob(".luminaguard-stage-*")
    (stage / "mine").write_text("the user's")
    report = scene.recover()
    assert report.ending is Ending.ROLLED_BACK
    assert report.kept == str(stage)
    assert (stage / "mine").read_text() == "the user's"
