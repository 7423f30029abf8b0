"""One question at a time: asks an approver, and lets nothing but a proper yes through.

Knows nothing of screens. Whatever an approver does (hang, fail, answer another question, answer
too late), one of the four ends comes out, and APPROVED only for the very request that was asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import anyio

from luminaguard.approval.approver import Approver
from luminaguard.approval.approvers import utc_now
from luminaguard.approval.card import DiffCard
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.visible import visible

GRACE_S = 1.0
"""Given to an approver after the expiry to say on its screen that it is over."""


@dataclass(slots=True, kw_only=True)
class ApprovalQueue:
    """Asks one approver; waiting for one's turn counts towards the expiry."""

    approver: Approver
    now: Callable[[], datetime] = utc_now
    grace_s: float = GRACE_S
    _turn: anyio.Lock = field(default_factory=anyio.Lock, init=False)

    async def ask(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Return how the request ended; never later than its expiry and a short grace.

        Only cancellation comes out of here as an exception.
        """
        if card.request != request:
            return self._own(request, End.FAILED, "the card belongs to another request")
        decision: Decision | None = None
        with anyio.move_on_after(self._left_s(request) + self.grace_s):
            async with self._turn:
                if self._left_s(request) > 0:
                    decision = await self._asked(request, card)
        if decision is None:
            return self._own(request, End.EXPIRED, "nobody answered in time")
        return self._checked(request, decision)

    async def _asked(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        try:
            return await self.approver.decide(request, card)
        except Exception as error:  # noqa: BLE001 - whatever an approver raises, nothing happens
            return self._own(request, End.FAILED, f"the approver failed: {visible(str(error))}")

    def _checked(self, request: ApprovalRequest, decision: Decision) -> Decision:
        if decision.request_digest != request.digest:
            return self._own(request, End.FAILED, "the approver answered another request")
        if decision.approver != self.approver.name:
            return self._own(request, End.FAILED, "the answer names another approver")
        if decision.end is not End.APPROVED:
            return decision
        if self._left_s(request) <= 0 or decision.at > request.expires_at:
            return self._own(request, End.EXPIRED, "the approval came too late")
        if decision.at < request.requested_at:
            return self._own(request, End.FAILED, "the answer is older than the question")
        return decision

    def _left_s(self, request: ApprovalRequest) -> float:
        return (request.expires_at - self.now()).total_seconds()

    def _own(self, request: ApprovalRequest, end: End, reason: str) -> Decision:
        return Decision(
            end=end,
            request_digest=request.digest,
            approver=self.approver.name,
            reason=reason,
            at=self.now(),
        )
