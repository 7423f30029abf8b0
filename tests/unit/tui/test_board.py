"""Which question is looked at while others come and go."""

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from luminaguard.approval.desk.desk import UNSEEN, Answer, Pending
from luminaguard.approval.desk.refusals import DeskLost
from luminaguard.domain.approval import Decision
from luminaguard.testing.cards import text_card
from luminaguard.tui.board import Board, Entry
from luminaguard.tui.follow import Following
from luminaguard.tui.trail import Trail


class ScriptedDesk:
    """A desk that holds what it is told."""

    def __init__(self, *pending: Pending) -> None:
        self.open = list(pending)
        self.is_lost = False

    def pending(self) -> tuple[Pending, ...]:
        return tuple(self.open)

    async def wait_for_change(self, seen: int) -> int:
        if self.is_lost:
            raise DeskLost("gone")
        if seen == UNSEEN:
            return 1
        await anyio.sleep_forever()
        return 2

    async def answer(self, request_digest: str, answer: Answer) -> Decision:
        raise NotImplementedError


class Watcher:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.lost: list[Entry] = []

    def changed(self) -> None: ...

    def gone(self, entries: Sequence[Entry]) -> None:
        self.lost += entries

    def tell(self, text: str) -> None:
        self.told.append(text)


def question(number: int) -> Pending:
    card = text_card({f"{number}.txt": ("old\n", f"{number}\n")})
    return Pending(
        request=card.request,
        card=card,
        session_id="s",
        origin="a test",
        opened_at=card.request.requested_at + timedelta(seconds=number),
    )


QUESTIONS = [question(number) for number in range(5)]


def board_of(*numbers: int) -> tuple[Board, ScriptedDesk]:
    board, desk = Board(), ScriptedDesk(*(QUESTIONS[number] for number in numbers))
    board.update(desk, desk.pending())
    return board, desk


def looked_at(board: Board) -> int:
    assert board.selected is not None
    return [one.digest for one in QUESTIONS].index(board.selected.digest)


def test_the_oldest_question_is_looked_at_first() -> None:
    board, _ = board_of(3, 1, 2)
    assert looked_at(board) == 1
    assert [entry.pending for entry in board.entries] == [QUESTIONS[n] for n in (1, 2, 3)]


def test_an_older_question_that_comes_late_does_not_take_the_look() -> None:
    board, desk = board_of(2, 3)
    board.update(desk, [QUESTIONS[n] for n in (0, 2, 3)])
    assert (looked_at(board), board.index) == (2, 1)


def test_questions_of_several_desks_stand_by_age() -> None:
    board, _ = board_of(0, 2)
    other = ScriptedDesk(QUESTIONS[1])
    board.update(other, other.pending())
    assert [entry.pending for entry in board.entries] == QUESTIONS[:3]


@pytest.mark.parametrize(("gone", "then"), [(1, 2), (4, 3), (0, 1)])
def test_the_look_goes_on_when_its_question_is_gone(gone: int, then: int) -> None:
    board, desk = board_of(0, 1, 2, 3, 4)
    board.step(gone)
    board.update(desk, [one for one in QUESTIONS if one is not QUESTIONS[gone]])
    assert looked_at(board) == then


def test_the_look_stays_when_others_are_gone() -> None:
    board, desk = board_of(0, 1, 2, 3, 4)
    board.step(3)
    board.update(desk, [QUESTIONS[3], QUESTIONS[4]])
    assert (looked_at(board), board.index) == (3, 0)


def test_an_empty_board_looks_at_nothing() -> None:
    board, desk = board_of(0)
    board.update(desk, [])
    board.step(1)
    assert (board.selected, board.index, board.entries) == (None, -1, [])


def test_steps_end_at_both_ends() -> None:
    board, _ = board_of(0, 1, 2)
    board.step(-5)
    assert board.index == 0
    board.step(50)
    assert board.index == 2


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def following(watcher: Watcher) -> Following:
    trail = Trail(lambda: QUESTIONS[0].opened_at)
    return Following(Board(), trail, watcher)


def test_a_withdrawn_question_vanishes_with_a_notice(
    following: Following, watcher: Watcher
) -> None:
    desk = ScriptedDesk(QUESTIONS[0], QUESTIONS[1])
    following.take(desk)
    desk.open.pop(0)
    following.take(desk)
    assert [entry.pending for entry in following.board.entries] == [QUESTIONS[1]]
    assert "no longer asked" in watcher.told[0]


def test_an_expired_question_goes_though_its_desk_still_shows_it(
    following: Following, watcher: Watcher
) -> None:
    desk = ScriptedDesk(QUESTIONS[0])
    following.take(desk)
    following.expire(QUESTIONS[0].request.expires_at)
    following.take(desk)
    assert following.board.entries == []
    assert "expired" in watcher.told[0]


def test_an_answered_question_goes_without_a_notice_and_stays_gone(
    following: Following, watcher: Watcher
) -> None:
    desk = ScriptedDesk(QUESTIONS[0])
    following.take(desk)
    following.answered_here(following.board.entries[0])
    following.take(desk)
    assert (following.board.entries, watcher.told) == ([], [])


@pytest.mark.anyio
async def test_a_lost_desk_takes_its_questions_along(
    following: Following, watcher: Watcher
) -> None:
    desk = ScriptedDesk(QUESTIONS[0])
    following.add(desk, "(process 7)")
    following.take(desk)
    desk.is_lost = True
    await following.follow(desk)
    assert (following.board.entries, following.desks) == ([], [])
    assert "(process 7)" in watcher.told[0]
