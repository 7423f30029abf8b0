"""How changes read."""

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.domain.changeset import Change, ChangeKind, Entry, EntryType
from luminaguard.domain.diff import Body, FileDiff, LineKind
from luminaguard.domain.harvest import FileBytes, UpperFile, UpperSymlink, Whiteout
from luminaguard.errors import ChangesetConflict
from luminaguard.workspace.measure.textdiff import (
    MAX_TEXT_BYTES,
    before_bytes,
    file_diff,
    file_diffs,
)
from measuring import make_tree, sent


def entry(content: bytes | None, mode: int = 0o644) -> Entry | None:
    if content is None:
        return None
    digest = f"{hash(content) & (1 << 64) - 1:x}"
    return Entry(type=EntryType.FILE, mode=mode, size=len(content), sha256=digest)


def diff(before: bytes | None, after: bytes | None, *, mode: int = 0o644) -> FileDiff:
    change = Change(
        path="f", kind=ChangeKind.MODIFY, before=entry(before), after=entry(after, mode)
    )
    return file_diff(change, before, after)


def patched(old: str, found: FileDiff) -> str:
    """Apply a difference, as a reader would, checking its context."""
    lines = old.split("\n")
    out: list[str] = []
    place = 0
    for hunk in found.hunks:
        start = max(hunk.old_start - 1, 0)
        out += lines[place:start]
        place = start
        for kind, text in hunk.lines:
            if kind is not LineKind.ADDED:
                assert lines[place] == text
                place += 1
            if kind is not LineKind.REMOVED:
                out.append(text)
    return "\n".join([*out, *lines[place:]])


LINES = st.lists(st.sampled_from(["a", "b", "c", "", "d\r", "e\x0c", "f\u2028g"]), max_size=40)


@given(old=LINES, new=LINES)
def test_a_difference_leads_from_the_old_text_to_the_new(old: list[str], new: list[str]) -> None:
    before = "".join(f"{line}\n" for line in old)
    after = "".join(f"{line}\n" for line in new)
    found = diff(before.encode(), after.encode())
    if before == after:
        assert found.body is Body.NONE
    else:
        assert patched(before, found) == after
        assert found.added - found.removed == len(new) - len(old)


def test_hunks_are_placed_as_the_diff_program_places_them() -> None:
    old = [f"line {number}" for number in range(60)]
    new = [*old[:10], "changed", *old[11:40], *old[42:], "end"]
    with tempfile.TemporaryDirectory() as name:
        for side, lines in (("a", old), ("b", new)):
            (Path(name) / side).write_text("\n".join(lines) + "\n")
        told = subprocess.run(
            ["diff", "-u", "a", "b"], cwd=name, capture_output=True, text=True, check=False
        ).stdout
    theirs = [line.split(" @@")[0] for line in told.splitlines() if line.startswith("@@")]
    found = diff(("\n".join(old) + "\n").encode(), ("\n".join(new) + "\n").encode())
    ours: list[str] = []
    for hunk in found.hunks:
        olds = sum(kind is not LineKind.ADDED for kind, _ in hunk.lines)
        news = sum(kind is not LineKind.REMOVED for kind, _ in hunk.lines)
        ours.append(f"@@ -{hunk.old_start},{olds} +{hunk.new_start},{news}")
    assert ours == theirs


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (b"a\n", b"a", "no newline at end of file"),
        (b"a", b"a\n", "newline at end of file added"),
        (b"a\nb\n", b"a\r\nb\r\n", "only line endings changed"),
        (b"a\nb\n", b"a\r\nc\r\n", "line endings changed"),
    ],
)
def test_what_lines_do_not_show_is_noted(before: bytes, after: bytes, note: str) -> None:
    found = diff(before, after)
    assert found.body is Body.TEXT
    assert found.note == note
    assert found.added
    assert found.removed


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfe"])
def test_what_is_not_text_says_how_large_it_is(content: bytes) -> None:
    found = diff(b"text\n", content)
    assert (found.body, found.hunks) == (Body.BINARY, ())
    assert found.note == f"5 → {len(content)} bytes"


def test_a_created_and_a_deleted_file_are_shown_whole() -> None:
    made, gone = diff(None, b"a\nb\n", mode=0o755), diff(b"a\nb\n", None)
    assert (made.added, made.removed, made.note) == (2, 0, "executable, mode 0755")
    assert (gone.added, gone.removed) == (0, 2)
    assert [hunk.old_start for hunk in made.hunks] == [0]


def test_a_mode_alone_has_no_body_but_a_note() -> None:
    found = diff(b"x\n", b"x\n", mode=0o755)
    assert (found.body, found.note) == (Body.NONE, "mode 0644 → 0755")


def test_texts_that_share_nothing_are_compared_in_bounded_time() -> None:
    old = "".join(f"{number % 7}\n" for number in range(20_000)).encode()
    new = "".join(f"{number % 5}\n" for number in range(20_000)).encode()
    found = diff(old, new)
    assert patched(old.decode(), found) == new.decode()


def test_a_changeset_s_differences_come_from_host_and_spool(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", {"a": "old\n", "b": "gone\n", "c": "moved\n"})
    with sent(host, tmp_path) as one:
        big = MAX_TEXT_BYTES + 1
        changeset = one.measure(
            [
                UpperFile(b"a", 0o644, 4, 0),
                FileBytes(0, b"new\n"),
                Whiteout(b"b"),
                UpperFile(b"big", 0o644, big, 0),
                UpperSymlink(b"l", b"a"),
            ]
        )
        found = {one.path: one for one in file_diffs(one.root, one.base, changeset, one.spool)}
        assert [text for _, text in found["a"].hunks[0].lines] == ["old", "new"]
        assert found["b"].removed == 1
        assert (found["big"].body, found["big"].note) == (Body.TOO_LARGE, f"{big:,} bytes")
        assert (found["l"].body, found["l"].note) == (Body.NONE, "points to a")
        assert before_bytes(one.root, one.base, changeset.changes[0]) == b"old\n"


@pytest.mark.guarantee("G3")
def test_a_host_file_that_moved_after_measuring_is_a_conflict(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", {"a": "old\n"})
    with sent(host, tmp_path) as one:
        changeset = one.measure([Whiteout(b"a")])
        (host / "a").write_text("by the user\n")
        with pytest.raises(ChangesetConflict):
            before_bytes(one.root, one.base, changeset.changes[0])
        with pytest.raises(ChangesetConflict):
            file_diffs(one.root, one.base, changeset, one.spool)
