"""From a question to its end: asks an approver, and lets nothing but a proper yes through.

Knows nothing of screens. Whatever an approver does (hang, fail, answer another question, answer
too late), one of the four ends comes out, and APPROVED only for the very request that was asked.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

import anyio

from luminaguard.approval.approver import INTERRUPTED, Approver
from luminaguard.approval.approvers import utc_now
from luminaguard.approval.card import DiffCard
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.visible import visible

GRACE_S = 1.0
"""Given to an approver after the expiry to say on its screen that it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Who else is asked when the first approver has not answered for a while, or could not ask.

    The first one stays asked: whoever answers first decides. A no beats a yes of the same moment.
    """

    after_s: float
    to: Approver


@dataclass(slots=True, kw_only=True)
class InTurn:
    """An approver that is asked one question at a time, however many sessions share it.

    Waiting for one's turn counts towards the expiry.
    """

    approver: Approver
    _turn: anyio.Lock = field(default_factory=anyio.Lock, init=False)

    @property
    def name(self) -> str:
        """Name in the record: the approver's own."""
        return self.approver.name

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Wait for a turn, and ask."""
        async with self._turn:
            return await self.approver.decide(request, card)


@dataclass(slots=True, kw_only=True)
class ApprovalQueue:
    """Asks one approver, or one and then another. Many sessions may ask at once."""

    approver: Approver
    escalation: Escalation | None = None
    notice: Callable[[str], None] = lambda _: None
    """Told when somebody else is asked, too."""
    now: Callable[[], datetime] = utc_now
    steady: Callable[[], float] = time.monotonic
    """A clock that nobody can set: with it, setting the other cannot make a request last longer."""
    grace_s: float = GRACE_S

    async def ask(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Return how the request ended; never later than its expiry and a short grace.

        Only cancellation comes out of here as an exception.
        """
        question = _Question(self, request, card)
        if card.request != request:
            return question.own(End.FAILED, "the card belongs to another request")
        decision: Decision | None = None
        left_s = question.left_s()
        if left_s > 0:
            with anyio.move_on_after(left_s + self.grace_s):
                decision = await question.first_answer()
        return decision or question.own(End.EXPIRED, "nobody answered in time")


class _Question:
    """One request while it is asked."""

    def __init__(self, queue: ApprovalQueue, request: ApprovalRequest, card: DiffCard) -> None:
        self._queue = queue
        self._request = request
        self._card = card
        by_wall_s = (request.expires_at - queue.now()).total_seconds()
        self._until_s = queue.steady() + by_wall_s

    def left_s(self) -> float:
        """Return the seconds until the request expires by the clock that is further on."""
        by_wall_s = (self._request.expires_at - self._queue.now()).total_seconds()
        return min(by_wall_s, self._until_s - self._queue.steady())

    async def first_answer(self) -> Decision:
        """Ask, and ask on where that is wanted, until somebody has answered."""
        first, escalation = self._queue.approver, self._queue.escalation
        if escalation is None:
            return await self._answer_of(first)
        asked, found = [first.name], list[Decision]()
        gave_up = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def offer(approver: Approver) -> None:
                found.append(await self._answer_of(approver))
                if _is_final(found[-1]) or len(found) > 1:
                    tasks.cancel_scope.cancel()
                gave_up.set()

            tasks.start_soon(offer, first)
            with anyio.move_on_after(escalation.after_s):
                await gave_up.wait()
            asked.append(escalation.to.name)
            with suppress(OSError):
                self._queue.notice(f"{' and '.join(asked)} can now answer the open question")
            tasks.start_soon(offer, escalation.to)
        decision = _strictest(found)
        return replace(decision, offered=tuple(asked)) if len(asked) > 1 else decision

    async def _answer_of(self, approver: Approver) -> Decision:
        try:
            decision = await approver.decide(self._request, self._card)
        except Exception as error:  # noqa: BLE001 - whatever an approver raises, nothing happens
            why = f"the approver failed: {visible(str(error))}"
            return self.own(End.FAILED, why, approver)
        return self._checked(decision, approver)

    def _checked(self, decision: Decision, approver: Approver) -> Decision:
        if decision.request_digest != self._request.digest:
            return self.own(End.FAILED, "the approver answered another request", approver)
        if decision.approver != approver.name:
            return self.own(End.FAILED, "the answer names another approver", approver)
        if decision.end is not End.APPROVED:
            return replace(decision, grant="")
        if self.left_s() <= 0 or decision.at > self._request.expires_at:
            return self.own(End.EXPIRED, "the approval came too late", approver)
        if decision.at < self._request.requested_at:
            return self.own(End.FAILED, "the answer is older than the question", approver)
        if decision.grant and decision.grant not in {o.offer_id for o in self._card.offers}:
            return self.own(End.FAILED, "the approver remembers what was not offered", approver)
        return decision

    def own(self, end: End, reason: str, approver: Approver | None = None) -> Decision:
        """Return an end that is nobody's answer."""
        return Decision(
            end=end,
            request_digest=self._request.digest,
            approver=(approver or self._queue.approver).name,
            reason=reason,
            at=self._queue.now(),
        )


def _is_final(decision: Decision) -> bool:
    """Say whether nobody else needs to be asked: a failed screen is no answer, Ctrl-C is one."""
    return decision.end is not End.FAILED or decision.reason == INTERRUPTED


def _strictest(found: list[Decision]) -> Decision:
    """Return the answer that counts, of those that came in the same moment."""
    final = [decision for decision in found if _is_final(decision)] or found
    return next((decision for decision in final if decision.end is not End.APPROVED), final[0])
