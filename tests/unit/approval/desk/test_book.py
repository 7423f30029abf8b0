"""Whatever happens in whatever order: one end for each request, and a yes only by a yes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from luminaguard.approval.card import DiffCard
from luminaguard.approval.codec.recorded import card_from_record
from luminaguard.approval.desk.book import REMEMBERED, Book, Moment
from luminaguard.approval.desk.desk import Answer
from luminaguard.approval.desk.refusals import (
    AnswerRefused,
    RequestExpired,
    RequestSpent,
    RequestWithdrawn,
    UnknownRequest,
)
from luminaguard.domain.approval import Decision, End
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.errors import ApprovalError
from luminaguard.testing.cards import text_card

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
OFFER = GrantOffer(offer_id="exact", scope=GrantScope.EXACT, covers="just this")
TEMPLATE = replace(text_card({"a.txt": ("old", "new")}), offers=(OFFER,))
YES = Answer(end=End.APPROVED)


def card(nonce: str, asked: datetime = START, open_s: float = 300) -> DiffCard:
    request = replace(
        TEMPLATE.request,
        nonce=nonce,
        requested_at=asked,
        expires_at=asked + timedelta(seconds=open_s),
    )
    return replace(TEMPLATE, request=request)


def moment(after_s: float, wall_s: float | None = None) -> Moment:
    return Moment(START + timedelta(seconds=after_s if wall_s is None else wall_s), after_s)


class DeskMachine(RuleBasedStateMachine):
    """A desk beside a plain list of what was asked, said and done."""

    digests: Bundle[str] = Bundle("digests")

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(approver="queue")
        self.wall = START
        self.steady_s = 1000.0
        self.asked = 0
        self.limits: dict[str, tuple[datetime, float]] = {}
        self.said_yes: set[str] = set()
        self.ends: dict[str, Decision] = {}
        self.version = 0

    @property
    def at(self) -> Moment:
        return Moment(self.wall, self.steady_s)

    @rule(target=digests, open_s=st.floats(0.5, 60))
    def ask(self, open_s: float) -> str:
        self.asked += 1
        pending = self.book.enter(card(str(self.asked), self.wall, open_s), origin="", at=self.at)
        until = self.wall + timedelta(seconds=open_s)
        self.limits[pending.digest] = (until, self.steady_s + open_s)
        return pending.digest

    @rule(s=st.floats(0, 40))
    def time_passes(self, s: float) -> None:
        self.wall += timedelta(seconds=s)
        self.steady_s += s

    @rule(s=st.floats(-100, 100))
    def somebody_sets_the_clock(self, s: float) -> None:
        self.wall += timedelta(seconds=s)

    @rule(digest=digests, end=st.sampled_from([End.APPROVED, End.REJECTED]))
    def answer(self, digest: str, end: End) -> None:
        was_open = digest not in self.ends
        by_wall, by_steady = self.limits[digest]
        in_time = self.wall < by_wall and self.steady_s < by_steady
        try:
            decision = self.book.answer(digest, Answer(end=end), proof="human", at=self.at)
        except AnswerRefused:
            return
        assert was_open
        assert in_time
        assert decision.end is end
        if end is End.APPROVED:
            self.said_yes.add(digest)

    @rule(digest=digests)
    def answer_to_something_else(self, digest: str) -> None:
        before = self.book.decision(digest)
        with pytest.raises(UnknownRequest):
            self.book.answer(digest[::-1], YES, proof="", at=self.at)
        if before is not None:
            assert self.book.decision(digest) == before

    @rule(digest=digests)
    def answer_that_does_not_fit(self, digest: str) -> None:
        greedy = Answer(end=End.APPROVED, grant="everything")
        with pytest.raises(AnswerRefused):
            self.book.answer(digest, greedy, proof="", at=self.at)

    @rule(digest=digests)
    def withdraw(self, digest: str) -> None:
        self.book.withdraw(digest, self.at)
        assert self.book.decision(digest) is not None

    @rule()
    def expire(self) -> None:
        self.book.expire(self.at)
        for digest, (by_wall, by_steady) in self.limits.items():
            if self.wall >= by_wall or self.steady_s >= by_steady:
                assert self.book.decision(digest) is not None

    @precondition(lambda self: self.ends)
    @rule(data=st.data())
    def ask_the_same_again(self, data: st.DataObject) -> None:
        nonce = str(data.draw(st.integers(1, self.asked)))
        for pending in self.book.pending():
            if pending.request.nonce == nonce:
                with pytest.raises(RequestSpent):
                    self.book.enter(pending.card, origin="", at=self.at)

    @invariant()
    def each_request_is_open_or_has_one_end_for_good(self) -> None:
        is_open = {pending.digest for pending in self.book.pending()}
        for digest in self.limits:
            decision = self.book.decision(digest)
            assert (decision is None) == (digest in is_open)
            if decision is None:
                continue
            assert self.ends.setdefault(digest, decision) == decision
            assert (decision.end is End.APPROVED) == (digest in self.said_yes)
            assert decision.request_digest == digest

    @invariant()
    def every_change_of_what_is_open_has_a_new_version(self) -> None:
        changes = self.asked + len(self.ends)
        assert self.book.version == changes


DeskMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestDesk = pytest.mark.guarantee("G4")(DeskMachine.TestCase)


@pytest.mark.guarantee("G2")
def test_the_second_answer_is_told_that_the_first_counted() -> None:
    book = Book(approver="queue")
    digest = book.enter(card("1"), origin="", at=moment(0)).digest
    first = book.answer(digest, Answer(end=End.REJECTED, reason="no"), proof="p", at=moment(1))
    with pytest.raises(RequestSpent, match="rejected already"):
        book.answer(digest, YES, proof="p", at=moment(2))
    assert book.decision(digest) == first


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    "at", [moment(300), moment(10, wall_s=301), moment(301, wall_s=10)], ids=str
)
def test_the_clock_that_is_further_on_ends_a_request(at: Moment) -> None:
    book = Book(approver="queue")
    digest = book.enter(card("1"), origin="", at=moment(0)).digest
    with pytest.raises(RequestExpired):
        book.answer(digest, YES, proof="", at=at)
    decision = book.decision(digest)
    assert decision is not None
    assert decision.end is End.EXPIRED


@pytest.mark.guarantee("G4")
def test_a_clock_that_went_behind_the_question_fails_it() -> None:
    book = Book(approver="queue")
    digest = book.enter(card("1"), origin="", at=moment(0)).digest
    with pytest.raises(RequestExpired, match="clock was set back"):
        book.answer(digest, YES, proof="", at=moment(5, wall_s=-60))
    decision = book.decision(digest)
    assert decision is not None
    assert decision.end is End.FAILED


@pytest.mark.guarantee("G4")
def test_a_withdrawn_request_takes_no_answer() -> None:
    book = Book(approver="queue")
    digest = book.enter(card("1"), origin="", at=moment(0)).digest
    book.withdraw(digest, moment(1))
    with pytest.raises(RequestWithdrawn):
        book.answer(digest, YES, proof="", at=moment(2))


def test_an_offer_that_the_card_makes_can_be_taken() -> None:
    book = Book(approver="queue")
    digest = book.enter(card("1"), origin="", at=moment(0)).digest
    taken = Answer(end=End.APPROVED, grant="exact")
    assert book.answer(digest, taken, proof="", at=moment(1)).grant == "exact"


@pytest.mark.guarantee("G2")
def test_a_card_out_of_the_log_cannot_be_decided_on() -> None:
    with pytest.raises(AnswerRefused, match="recorded"):
        Book(approver="queue").enter(card_from_record(card("1").as_json()), origin="", at=moment(0))


def test_only_so_many_ends_are_remembered() -> None:
    book = Book(approver="queue")
    digests = [
        book.enter(card(str(n)), origin="", at=moment(0)).digest for n in range(REMEMBERED + 1)
    ]
    for digest in digests:
        book.withdraw(digest, moment(1))
    assert book.decision(digests[0]) is None
    assert book.decision(digests[-1]) is not None
    with pytest.raises(UnknownRequest):
        book.answer(digests[0], YES, proof="", at=moment(2))


@pytest.mark.parametrize("end", [End.EXPIRED, End.FAILED])
def test_nobody_can_answer_expired_or_failed(end: End) -> None:
    with pytest.raises(ApprovalError):
        Answer(end=end)


def test_a_no_cannot_be_remembered_and_a_reason_is_bounded() -> None:
    with pytest.raises(ApprovalError):
        Answer(end=End.REJECTED, grant="exact")
    with pytest.raises(ApprovalError):
        Answer(end=End.REJECTED, reason="x" * 2_001)
