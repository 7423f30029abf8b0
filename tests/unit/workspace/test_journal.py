"""A journal tells what was about to happen, and never more than was made durable."""

import os
from pathlib import Path

import pytest

from luminaguard.domain.changeset import Entry, EntryType
from luminaguard.errors import RecoveryNeeded
from luminaguard.workspace.settle import journal as journals
from luminaguard.workspace.settle.fileops import real_ops
from luminaguard.workspace.settle.journal import Journal, Mark, Plan
from luminaguard.workspace.settle.plan import Action, Step

PLAN = Plan(
    nonce="n0",
    changeset="c" * 64,
    workspace="/w/\udcff",
    steps=(
        Step(
            slot="000000",
            path="odd \udcff\n\x1b name",
            action=Action.REPLACE,
            before=Entry(type=EntryType.FILE, mode=0o644, size=3, sha256="a" * 64),
            after=Entry(type=EntryType.SYMLINK, mode=0o777, target="to \udcff"),
        ),
        Step(
            slot="000001",
            path="d",
            action=Action.PLACE,
            before=None,
            after=Entry(type=EntryType.DIRECTORY, mode=0o755),
        ),
    ),
)


@pytest.fixture
def store_fd(tmp_path: Path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def begin(store_fd: int) -> Journal:
    return Journal.begin(real_ops(), store_fd, PLAN)


def test_a_plan_is_read_as_it_was_written(store_fd: int) -> None:
    begin(store_fd).close()
    found = journals.read(real_ops(), store_fd)
    assert found is not None
    assert found.plan == PLAN
    assert found.mark is None


def test_the_last_mark_counts(store_fd: int) -> None:
    journal = begin(store_fd)
    journal.mark(Mark.APPLYING)
    journal.mark(Mark.SETTLED, {"unknown": []})
    journal.close()
    found = journals.read(real_ops(), store_fd)
    assert found is not None
    assert (found.mark, found.report) == (Mark.SETTLED, {"unknown": []})


def test_a_mark_cut_anywhere_does_not_count(store_fd: int, tmp_path: Path) -> None:
    journal = begin(store_fd)
    journal.mark(Mark.APPLYING)
    whole = (tmp_path / "journal").stat().st_size
    journal.mark(Mark.COMMITTED)
    journal.close()
    content = (tmp_path / "journal").read_bytes()
    for size in range(whole, len(content)):
        for tail in (b"", b"\0" * 7, b"\0\n"):
            (tmp_path / "journal").write_bytes(content[:size] + tail)
            found = journals.read(real_ops(), store_fd)
            assert found is not None
            assert (found.mark, found.size) == (Mark.APPLYING, whole)


def test_a_resumed_journal_goes_on_behind_the_last_whole_line(
    store_fd: int, tmp_path: Path
) -> None:
    journal = begin(store_fd)
    journal.mark(Mark.APPLYING)
    journal.close()
    with (tmp_path / "journal").open("ab") as torn:
        torn.write(b"half a li")
    found = journals.read(real_ops(), store_fd)
    assert found is not None
    resumed = Journal.resume(real_ops(), store_fd, found)
    resumed.mark(Mark.UNDONE)
    resumed.close()
    again = journals.read(real_ops(), store_fd)
    assert again is not None
    assert again.mark is Mark.UNDONE


@pytest.mark.parametrize("at", [0, 10, 70, 100])
def test_a_flipped_bit_before_the_last_line_is_refused(
    store_fd: int, tmp_path: Path, at: int
) -> None:
    journal = begin(store_fd)
    journal.mark(Mark.APPLYING)
    journal.close()
    content = bytearray((tmp_path / "journal").read_bytes())
    content[at] ^= 1
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(RecoveryNeeded, match="damaged"):
        journals.read(real_ops(), store_fd)


def test_there_is_no_journal_where_nothing_is_pending(store_fd: int) -> None:
    assert journals.read(real_ops(), store_fd) is None
    journal = begin(store_fd)
    assert journals.exists(real_ops(), store_fd)
    journal.close()
    journal.remove()
    assert not journals.exists(real_ops(), store_fd)
