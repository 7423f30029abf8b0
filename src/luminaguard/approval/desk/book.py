"""Which questions are open and how each one ended: the rules of the desk, without waiting or I/O.

Two clocks are asked for every decision, the wall clock that the request's expiry is in and one that
nobody can set: whichever runs out first ends the request. Setting the clock can so only shorten the
time that a request is open.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from luminaguard.approval.card import DiffCard
from luminaguard.approval.codec.recorded import RecordedCard
from luminaguard.approval.desk.desk import Answer, Pending
from luminaguard.approval.desk.refusals import (
    AnswerRefused,
    RequestExpired,
    RequestSpent,
    RequestWithdrawn,
    UnknownRequest,
)
from luminaguard.domain.approval import Decision, End

REMEMBERED = 1_000
"""Ended requests whose end is still told to whoever answers too late."""

WITHDRAWN = "withdrawn by the session that asked"
EXPIRED = "nobody answered in time"


@dataclass(frozen=True, slots=True)
class Moment:
    """One point in time on both clocks."""

    now: datetime
    """Wall clock, aware of its zone."""
    steady_s: float
    """Seconds on a clock that cannot be set."""


@dataclass(frozen=True, slots=True)
class _Open:
    pending: Pending
    until_s: float
    """On the steady clock."""


@dataclass(slots=True, kw_only=True)
class Book:
    """The open and the lately ended requests of one desk."""

    approver: str
    """Name in the decisions."""
    version: int = field(default=0, init=False)
    """Grows with every change of what is open."""
    _open: dict[str, _Open] = field(default_factory=dict[str, _Open], init=False)
    _ended: OrderedDict[str, Decision] = field(
        default_factory=OrderedDict[str, Decision], init=False
    )

    def enter(self, card: DiffCard, *, origin: str, at: Moment) -> Pending:
        """Open a request; it is the card's.

        Raises:
            RequestSpent: this very request was opened before.
            AnswerRefused: the card is a record, of which parts may be missing.
        """
        if isinstance(card, RecordedCard):
            raise AnswerRefused("a recorded card cannot be decided on")
        request = card.request
        if request.digest in self._open or request.digest in self._ended:
            raise RequestSpent("this request was asked before: a question is asked once")
        pending = Pending(
            request=request,
            card=card,
            session_id=request.session_id,
            origin=origin,
            opened_at=at.now,
        )
        left_s = (request.expires_at - at.now).total_seconds()
        self._open[request.digest] = _Open(pending, at.steady_s + left_s)
        self.version += 1
        return pending

    def pending(self) -> tuple[Pending, ...]:
        """Return what is open, oldest first."""
        return tuple(entry.pending for entry in self._open.values())

    def decision(self, digest: str) -> Decision | None:
        """Return how a request ended; None while it is open or when it is unknown."""
        return self._ended.get(digest)

    def left_s(self, digest: str, at: Moment) -> float:
        """Return the seconds that a request is still open, 0 if it is not."""
        entry = self._open.get(digest)
        if entry is None:
            return 0.0
        by_wall = (entry.pending.request.expires_at - at.now).total_seconds()
        return max(0.0, min(by_wall, entry.until_s - at.steady_s))

    def answer(self, digest: str, answer: Answer, *, proof: str, at: Moment) -> Decision:
        """End a request by an answer to it.

        Raises:
            AnswerRefused: it is not open, or the answer does not fit it; see `Desk.answer`.
        """
        self.expire(at)
        entry = self._open.get(digest)
        if entry is None:
            raise self._refusal(digest)
        request, card = entry.pending.request, entry.pending.card
        if answer.grant and answer.grant not in {offer.offer_id for offer in card.offers}:
            raise AnswerRefused("the card offers nothing like that to be remembered")
        if at.now < request.requested_at:
            self._end(digest, End.FAILED, "the clock was set back while the request was open", at)
            raise RequestExpired("the clock was set back: the request has ended, nothing happens")
        return self._end(digest, answer.end, answer.reason, at, proof=proof, grant=answer.grant)

    def expire(self, at: Moment) -> None:
        """End all requests whose time is up."""
        for digest in list(self._open):
            if self.left_s(digest, at) <= 0:
                self._end(digest, End.EXPIRED, EXPIRED, at)

    def withdraw(self, digest: str, at: Moment) -> None:
        """End a request that nobody wants an answer to any more; nothing if it has ended."""
        if digest in self._open:
            self._end(digest, End.FAILED, WITHDRAWN, at)

    def _end(
        self, digest: str, end: End, reason: str, at: Moment, *, proof: str = "", grant: str = ""
    ) -> Decision:
        del self._open[digest]
        self.version += 1
        decision = Decision(
            end=end,
            request_digest=digest,
            approver=self.approver,
            reason=reason,
            at=at.now,
            proof=proof,
            grant=grant,
        )
        self._ended[digest] = decision
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        return decision

    def _refusal(self, digest: str) -> AnswerRefused:
        decision = self._ended.get(digest)
        if decision is None:
            return UnknownRequest("there is no such request here")
        if decision.end is End.EXPIRED:
            return RequestExpired("the request has expired, nothing happens")
        if decision.end is End.FAILED:
            return RequestWithdrawn(f"the request is gone: {decision.reason}")
        return RequestSpent(f"the request was {decision.end.value} already", end=decision.end.value)
