"""The approver behind `--approver tui`: questions go to a desk, the screen answers them there."""

from dataclasses import dataclass, field
from datetime import datetime

import anyio

from luminaguard.approval.approvers import utc_now
from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.held import HeldDesk
from luminaguard.domain.approval import ApprovalRequest, Decision, End

NAME = "tui"


@dataclass(slots=True, kw_only=True, eq=False)
class TuiApprover:
    """Asks whoever looks at the desk's screens. No screen, no answer: then the question expires.

    Ctrl-C on the screen, and the loss of its terminal, end what is asked as FAILED.
    """

    desk: HeldDesk
    origin: str
    _ended: anyio.Event = field(default_factory=anyio.Event, init=False)
    _why: str = field(default="", init=False)

    @property
    def name(self) -> str:
        """Name in the record."""
        return self.desk.approver

    def end(self, why: str) -> None:
        """End what is asked, and everything that will be, as FAILED for this reason."""
        self._why = self._why or why
        self._ended.set()

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Put the question on the desk, and return its end."""
        decision: Decision | None = None
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                nonlocal decision
                decision = await self.desk.ask(request, card, origin=self.origin)
                tasks.cancel_scope.cancel()

            tasks.start_soon(ask)
            await self._ended.wait()
            tasks.cancel_scope.cancel()
        return decision or self._failed(request, utc_now())

    def _failed(self, request: ApprovalRequest, at: datetime) -> Decision:
        return Decision(
            end=End.FAILED,
            request_digest=request.digest,
            approver=self.name,
            reason=self._why,
            at=at,
        )
