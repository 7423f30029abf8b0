"""An approver whose answers are written down beforehand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from luminaguard.approval.approvers import utc_now
from luminaguard.approval.card import DiffCard
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.errors import ApprovalError

Answer = End | Exception | Callable[[ApprovalRequest, DiffCard], Decision]
"""An end to answer with, an error to raise, or a function that makes the whole decision."""


@dataclass(slots=True)
class FixedApprover:
    """Gives its answers in order and keeps the cards it was shown; fails when none is left."""

    answers: Sequence[Answer]
    reason: str = "as written in the script"
    now: Callable[[], datetime] = utc_now
    cards: list[DiffCard] = field(default_factory=list[DiffCard], init=False)

    @property
    def name(self) -> str:
        """Name in the record."""
        return "fixed"

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Return the next answer.

        Raises:
            ApprovalError: all answers are used up.
        """
        asked = len(self.cards)
        self.cards.append(card)
        if asked >= len(self.answers):
            raise ApprovalError(f"only {len(self.answers)} answers were written down")
        answer = self.answers[asked]
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, End):
            return answer(request, card)
        return Decision(
            end=answer,
            request_digest=request.digest,
            approver=self.name,
            reason=self.reason,
            at=self.now(),
            proof="a script, not a human",
        )


def answering_another_request(request: ApprovalRequest, card: DiffCard) -> Decision:
    """Answer that approves, but not what was asked; for `FixedApprover`."""
    del card
    other = replace(request, nonce=f"{request.nonce}-other")
    return Decision(
        end=End.APPROVED,
        request_digest=other.digest,
        approver="fixed",
        reason="",
        at=utc_now(),
    )
