"""A guest under an attacker's full control reports its changes; nothing may come of the tricks.

Each attack runs twice: fed straight into the measurement, and spoken over the real wire.
"""

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile import hostile_guest
from luminaguard.domain.changeset import ChangeKind, Changeset, EntryType
from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSpecial,
    UpperSymlink,
    Whiteout,
)
from luminaguard.errors import (
    ChangesetConflict,
    HostileStream,
    LuminaGuardError,
    Unrepresentable,
    WorkspaceTooLarge,
)
from luminaguard.workspace.measure.upper import HarvestLimits
from measuring import Sent, make_tree, sent

TREE = {
    "src/main.py": "print('hello')\n",
    "src/deep/one.txt": "one\n",
    "notes.txt": "notes\n",
    ".env": "TOKEN=secret\n",
    "conf/.env": "TOKEN=secret\n",
    "conf/app.ini": "[app]\n",
    "empty/": None,
}
LIMITS = HarvestLimits(entries=200, size_bytes=1 << 20, depth=20)


def directory(path: bytes, *, opaque: bool = False, redirect: bytes | None = None) -> UpperRecord:
    return UpperDirectory(path, 0o755, opaque, redirect)


def file(path: bytes, content: bytes = b"evil", mode: int = 0o644) -> list[UpperRecord]:
    head: list[UpperRecord] = [UpperFile(path, mode, len(content), 0)]
    return [*head, FileBytes(0, content)] if content else head


Measure = Callable[[Sent, Sequence[UpperRecord]], Changeset]


def straight(one: Sent, records: Sequence[UpperRecord]) -> Changeset:
    return one.measure(records, limits=LIMITS)


def over_the_wire(one: Sent, records: Sequence[UpperRecord]) -> Changeset:
    async def run() -> Changeset:
        measurement = one.measurement(limits=LIMITS)
        failed: LuminaGuardError | None = None
        async with hostile_guest(records=records) as client:
            async for record in client.harvest():
                try:
                    if failed is None:
                        measurement.add(record)
                except LuminaGuardError as error:
                    failed = error
        if failed is not None:
            raise failed
        return measurement.finish()

    return anyio.run(run)


@pytest.fixture(params=[straight, over_the_wire], ids=["straight", "over the wire"])
def measure(request: pytest.FixtureRequest) -> Measure:
    return request.param


def everything(place: Path) -> dict[str, tuple[object, ...]]:
    """All there is below a place, times included, the spool and the image's own room left out."""
    found: dict[str, tuple[object, ...]] = {}
    for parent, folders, files in os.walk(place):
        for name in [*folders, *files]:
            path = Path(parent) / name
            if "spool" in str(path.relative_to(place)):
                continue
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            times = () if path == place else (status.st_mtime_ns,)
            found[str(path)] = (status.st_mode, status.st_ino, content, *times)
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Sent]:
    """A workspace, of which nothing changes on the host whatever is measured."""
    make_tree(tmp_path / "ws", TREE)
    (tmp_path / "outside").write_text("untouched")
    with sent(tmp_path / "ws", tmp_path) as one:
        before = everything(tmp_path)
        yield one
        assert everything(tmp_path) == before


LONG = b"n" * 256
ATTACKS: dict[str, Sequence[UpperRecord]] = {
    "absolute path": file(b"/etc/cron.d/evil"),
    "parent components": file(b"../outside"),
    "parent components below a directory": [directory(b"src"), *file(b"src/../../outside")],
    "a dot component": [directory(b"src"), *file(b"src/./main.py")],
    "a way up, properly announced": [directory(b".."), *file(b"../outside")],
    "the root under another name": [directory(b"."), *file(b"./x")],
    "an empty component": [directory(b"src"), *file(b"src//main.py")],
    "a trailing slash": file(b"src/"),
    "no name": file(b""),
    "a NUL in a name": file(b"notes.txt\0.py"),
    "a name of 256 bytes": file(LONG),
    "the same file twice": [*file(b"x"), *file(b"x")],
    "the same directory twice": [directory(b"d"), directory(b"d")],
    "a file where a directory was announced": [directory(b"d"), *file(b"d")],
    "a whiteout of what was just made": [*file(b"x"), Whiteout(b"x")],
    "a file before its directory": [*file(b"d/x"), directory(b"d")],
    "a file in a directory never announced": file(b"src/new.py"),
    "a write through a link of the same stream": [
        UpperSymlink(b"d", b"/etc"),
        *file(b"d/passwd"),
    ],
    "a directory over a link of the same stream": [
        UpperSymlink(b"d", b"/etc"),
        directory(b"d"),
        *file(b"d/passwd"),
    ],
    "a file below a file": [*file(b"x"), *file(b"x/y")],
    "a file below a whiteout": [Whiteout(b"src"), *file(b"src/x")],
    "a character device": [UpperSpecial(b"null", "char")],
    "a block device": [UpperSpecial(b"sda", "block")],
    "bytes of no file": [FileBytes(0, b"x")],
    "bytes after another record": [
        UpperFile(b"x", 0o644, 4, 0),
        directory(b"d"),
        FileBytes(0, b"evil"),
    ],
    "more bytes than announced": [UpperFile(b"x", 0o644, 2, 0), FileBytes(0, b"evil")],
    "bytes beyond the size": [UpperFile(b"x", 0o644, 2, 0), FileBytes(9, b"e")],
    "overlapping bytes": [
        UpperFile(b"x", 0o644, 8, 0),
        FileBytes(0, b"shown"),
        FileBytes(2, b"evil"),
    ],
    "bytes in descending order": [
        UpperFile(b"x", 0o644, 8, 0),
        FileBytes(4, b"evil"),
        FileBytes(0, b"evil"),
    ],
    "an empty run of bytes": [UpperFile(b"x", 0o644, 4, 0), FileBytes(0, b"")],
    "an opaque root": [UpperDirectory(b"", 0o755, True, None)],
    "a moved root": [UpperDirectory(b"", 0o755, False, b"/src")],
    "two roots": [directory(b""), directory(b"")],
    "a redirect above the root": [directory(b"d", redirect=b"/../../etc")],
    "a redirect to the root": [directory(b"d", redirect=b"/")],
    "a redirect to nothing": [directory(b"d", redirect=b"")],
    "a redirect to the parent": [directory(b"d", redirect=b"..")],
    "a relative redirect that descends": [directory(b"d", redirect=b"src/deep")],
    "a redirect to what was never sent": [directory(b"d", redirect=b"/secret")],
    "a redirect to a file": [directory(b"d", redirect=b"/notes.txt")],
    "a redirect with a NUL": [directory(b"d", redirect=b"/src\0")],
    "a link to nowhere": [UpperSymlink(b"l", b"")],
    "a link's target with a NUL": [UpperSymlink(b"l", b"a\0b")],
}


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_stream_that_breaks_the_rules_is_refused(
    attack: str, workspace: Sent, measure: Measure
) -> None:
    with pytest.raises(HostileStream):
        measure(workspace, ATTACKS[attack])


UNREPRESENTABLE: dict[str, Sequence[UpperRecord]] = {
    "two names that differ in case": [*file(b"new"), *file(b"NEW")],
    "a name that differs from the host's in case": file(b"Notes.TXT"),
    "a name that differs from a left-out one in case": file(b".ENV"),
    "two Unicode forms of one name": [*file("caf\u00e9".encode()), *file("cafe\u0301".encode())],
    "an invisible character": [*file(b"run"), *file("r\u200cun".encode())],
    "letters that fold to several": [*file("stra\u00dfe".encode()), *file(b"STRASSE")],
    "a name that is not UTF-8": file(b"bad\xff"),
    "a link to a path that is not UTF-8": [UpperSymlink(b"l", b"bad\xff")],
    "LuminaGuard's own name": file(b".luminaguard"),
    "LuminaGuard's own name in another case": file(b".LuminaGuard-journal"),
    "LuminaGuard's own name as a directory": [directory(b".luminaguard.d")],
    "a socket in a file's place": [UpperSpecial(b"notes.txt", "socket")],
}


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("trick", UNREPRESENTABLE)
def test_what_cannot_be_shown_and_committed_faithfully_is_refused(
    trick: str, workspace: Sent, measure: Measure
) -> None:
    with pytest.raises(Unrepresentable):
        measure(workspace, UNREPRESENTABLE[trick])


def _nested(depth: int) -> list[UpperRecord]:
    return [directory(b"/".join([b"d"] * count)) for count in range(1, depth + 1)]


TOO_LARGE: dict[str, Sequence[UpperRecord]] = {
    "a sparse file of 256 GiB": [UpperFile(b"bomb", 0o644, 256 << 30, 0)],
    "many sparse files": [UpperFile(b"%d" % one, 0o644, 300_000, 0) for one in range(4)],
    "a sparse file among scratch": [
        directory(b"__pycache__"),
        UpperFile(b"__pycache__/x", 0o644, 256 << 30, 0),
    ],
    "too many entries": [directory(b"%d" % one) for one in range(201)],
    "too many whiteouts": [Whiteout(b"%d" % one) for one in range(201)],
    "a tree of 21 levels": _nested(21),
    "moved directories that multiply a tree": [
        directory(b"%d" % one, redirect=b"/src") for one in range(150)
    ],
}


@pytest.mark.parametrize("bomb", TOO_LARGE)
def test_a_bomb_is_refused_before_it_takes_room(
    bomb: str, workspace: Sent, measure: Measure
) -> None:
    with pytest.raises(WorkspaceTooLarge):
        measure(workspace, TOO_LARGE[bomb])
    assert sum(kept.stat().st_blocks for kept in workspace.spool.directory.iterdir()) == 0


def test_more_bytes_than_the_spool_may_hold_are_refused(workspace: Sent) -> None:
    measurement = workspace.measurement(quota_bytes=1000)
    *most, last = [*file(b"a", b"x" * 600), *file(b"b", b"x" * 600)]
    for record in most:
        measurement.add(record)
    with pytest.raises(WorkspaceTooLarge):
        measurement.add(last)


def test_a_flood_of_tiny_runs_is_refused(workspace: Sent) -> None:
    measurement = workspace.measurement(limits=HarvestLimits(runs=100))
    measurement.add(UpperFile(b"x", 0o644, 1000, 0))
    for offset in range(100):
        measurement.add(FileBytes(offset, b"x"))
    with pytest.raises(WorkspaceTooLarge):
        measurement.add(FileBytes(100, b"x"))


@pytest.mark.guarantee("G3")
def test_a_left_out_file_survives_the_deletion_of_its_directory(
    workspace: Sent, measure: Measure
) -> None:
    with pytest.raises(ChangesetConflict, match=r"conf/\.env"):
        measure(workspace, [Whiteout(b"conf")])


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize(
    "replacement",
    [file(b"conf"), [UpperSymlink(b"conf", b"src")]],
    ids=["a file", "a link"],
)
def test_a_left_out_file_survives_the_replacement_of_its_directory(
    replacement: Sequence[UpperRecord], workspace: Sent, measure: Measure
) -> None:
    with pytest.raises(ChangesetConflict, match=r"conf/\.env"):
        measure(workspace, replacement)


def test_an_opaque_directory_deletes_only_what_was_sent(workspace: Sent, measure: Measure) -> None:
    changeset = measure(workspace, [directory(b"conf", opaque=True)])
    assert [(change.path, change.kind) for change in changeset.changes] == [
        ("conf/app.ini", ChangeKind.DELETE)
    ]


def test_a_whiteout_of_a_left_out_file_deletes_nothing(workspace: Sent, measure: Measure) -> None:
    assert measure(workspace, [Whiteout(b".env"), Whiteout(b"nosuch")]).is_empty


@pytest.mark.guarantee("G3")
def test_a_left_out_file_is_not_overwritten(workspace: Sent, measure: Measure) -> None:
    with pytest.raises(ChangesetConflict, match="left out"):
        measure(workspace, file(b".env"))


def test_moving_a_directory_does_not_carry_left_out_files_off(
    workspace: Sent, measure: Measure
) -> None:
    with pytest.raises(ChangesetConflict, match=r"conf/\.env"):
        measure(workspace, [Whiteout(b"conf"), directory(b"moved", redirect=b"/conf")])


def test_setuid_setgid_and_sticky_never_leave_the_guest(workspace: Sent, measure: Measure) -> None:
    changeset = measure(workspace, file(b"tool", mode=0o7755))
    (change,) = changeset.changes
    assert change.after is not None
    assert change.after.mode == 0o755
    assert "special-bits-dropped" in {mark.name for mark in change.marks}


def test_setting_setuid_alone_changes_nothing(workspace: Sent, measure: Measure) -> None:
    stream = file(b"notes.txt", b"notes\n", mode=0o4644)
    assert measure(workspace, stream).is_empty


def test_sockets_and_fifos_are_dropped_with_a_line(workspace: Sent, measure: Measure) -> None:
    changeset = measure(workspace, [UpperSpecial(b"sock", "socket"), UpperSpecial(b"pipe", "fifo")])
    assert changeset.is_empty
    assert changeset.dropped == ("pipe", "sock")


def test_a_link_that_leads_outside_is_marked(workspace: Sent, measure: Measure) -> None:
    links = {b"a": b"/etc/passwd", b"b": b"../outside", b"c": b"src/../../x", b"d": b"src/main.py"}
    stream = [UpperSymlink(path, target) for path, target in links.items()]
    marked = {
        change.path
        for change in measure(workspace, stream).changes
        if "link-outside" in {mark.name for mark in change.marks}
    }
    assert marked == {"a", "b", "c"}


def test_names_with_control_characters_are_kept_exactly(workspace: Sent, measure: Measure) -> None:
    name = "a\x1b[2J\r\nb\u202ec"
    changeset = measure(workspace, file(name.encode()))
    assert [change.path for change in changeset.changes] == [name]


def test_a_guest_cannot_bring_a_deleted_file_back_unseen(workspace: Sent) -> None:
    changeset = workspace.measure([Whiteout(b"notes.txt")])
    workspace.base = workspace.base.after_commit(changeset, {})
    with pytest.raises(ChangesetConflict):  # the host still has it here, as something made since
        workspace.measure([])


NAMES = st.sampled_from(
    [b"a", b"b", b"src", b"main.py", b"notes.txt", b"conf", b".env", b"..", b".", b"", b"A",
     b"\xff", b"x\0", b".git", b"__pycache__", b".luminaguard", b"deep", b"one.txt"]
)  # fmt: skip
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
RECORDS = st.one_of(
    st.builds(
        UpperDirectory,
        PATHS,
        st.sampled_from([0o755, 0o4755]),
        st.booleans(),
        st.none() | st.builds(lambda path: b"/" + path, PATHS) | NAMES,
    ),
    st.builds(UpperFile, PATHS, st.just(0o644), st.integers(0, 6), st.just(0)),
    st.builds(FileBytes, st.integers(-1, 6), st.binary(max_size=6)),
    st.builds(UpperSymlink, PATHS, PATHS),
    st.builds(Whiteout, PATHS),
    st.builds(UpperSpecial, PATHS, st.sampled_from(["socket", "fifo"])),
)


@pytest.mark.guarantee("G2")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stream=st.lists(RECORDS, max_size=12))
def test_whatever_a_stream_says_a_changeset_stays_in_the_tree_and_makes_sense(
    stream: list[UpperRecord], workspace: Sent
) -> None:
    kept: list[UpperRecord] = []
    for record in stream:  # without what is refused by itself, so that more gets further
        try:
            workspace.measure([*kept, record], limits=LIMITS)
            kept.append(record)
        except (HostileStream, Unrepresentable, ChangesetConflict):
            continue
    changeset = workspace.measure(kept, limits=LIMITS)
    held = {path: entry.entry().type for path, entry in workspace.base.image.entries.items()}
    paths = [change.path for change in changeset.changes]
    assert paths == sorted(set(paths))
    for change in changeset.changes:
        names = change.path.split("/")
        assert not {"", ".", ".."} & set(names)
        assert not any("\0" in name or name.startswith(".luminaguard") for name in names)
        assert (change.before.type if change.before else None) == held.get(change.path)
        assert change.path not in workspace.base.image.left_out
    for change in changeset.changes:
        if change.after is None:
            held.pop(change.path)
        else:
            held[change.path] = change.after.type
    for path in held:  # what comes of it is a tree: every parent is a directory
        parent = path.rpartition("/")[0]
        assert not parent or held.get(parent) is EntryType.DIRECTORY
