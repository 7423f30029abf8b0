"""The approver on the terminal: opens it by its own path and asks a human there.

Standard input is never read: what is piped into a command cannot answer for its user.
"""

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import anyio
from anyio import lowlevel, to_thread

from luminaguard.approval.approvers import utc_now
from luminaguard.approval.card import DiffCard
from luminaguard.approval.dialog import Answer, Dialog
from luminaguard.approval.keys import ARM_AFTER_S, QUIET_S, KeyGate
from luminaguard.approval.terminal import (
    Terminal,
    TimeIsUp,
    Woken,
    has_terminal,
    open_terminal,
    proof_of,
)
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.errors import ApprovalError

__all__ = ["TtyApprover", "has_terminal"]

_LAST_WORDS = {
    End.APPROVED: "Approved.",
    End.REJECTED: "Rejected: nothing happens.",
    End.EXPIRED: "Expired: nobody answered in time, nothing happens.",
    End.FAILED: "Not approved: nothing happens.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TtyApprover:
    """Asks the human at the controlling terminal.

    No answer in time is EXPIRED; Ctrl-C (reason "interrupted"), Ctrl-D and a lost or absent
    terminal are FAILED. The terminal's mode is restored in every case, cancellation included.
    """

    path: str = "/dev/tty"
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """Read for TERM, NO_COLOR, the locale and PAGER."""
    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = time.monotonic
    arm_after_s: float = ARM_AFTER_S
    quiet_s: float = QUIET_S

    @property
    def name(self) -> str:
        """Name in the record."""
        return "tty"

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Show the card, and return what the human answered."""
        async with _wake_fd_on_cancel() as wake_fd:
            answer = await to_thread.run_sync(self._ask, request, card, wake_fd)
        await lowlevel.checkpoint_if_cancelled()
        return Decision(
            end=answer.end,
            request_digest=request.digest,
            approver=self.name,
            reason=answer.reason,
            grant=answer.grant,
            at=self.now(),
            proof=proof_of(self.path),
        )

    def _ask(self, request: ApprovalRequest, card: DiffCard, wake_fd: int) -> Answer:
        def left_s() -> float:
            return (request.expires_at - self.now()).total_seconds()

        try:
            with open_terminal(self.path, wake_fd=wake_fd, left_s=left_s) as terminal:
                answer = self._answer(terminal, card)
                terminal.say_at_once(f"{_LAST_WORDS[answer.end]}\n")
                return answer
        except (ApprovalError, OSError) as error:
            return Answer(End.FAILED, str(error))

    def _answer(self, terminal: Terminal, card: DiffCard) -> Answer:
        dialog = Dialog(
            terminal=terminal,
            card=card,
            path=self.path,
            environ=self.environ,
            gate=KeyGate(arm_after_s=self.arm_after_s, quiet_s=self.quiet_s),
            clock=self.clock,
        )
        try:
            return dialog.run()
        except TimeIsUp:
            terminal.say_at_once("\n")
            return Answer(End.EXPIRED, "nobody answered in time")
        except Woken:
            terminal.say_at_once("\n")
            return Answer(End.FAILED, "the question was withdrawn")


@asynccontextmanager
async def _wake_fd_on_cancel() -> AsyncGenerator[int]:
    """Give a descriptor that becomes readable when the caller is cancelled.

    The thread that asks cannot be cancelled, only told to end; it is then waited for.
    """
    wake_fd, bell_fd = os.pipe()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ring_when_cancelled, bell_fd)
            yield wake_fd
            tasks.cancel_scope.cancel()
    finally:
        os.close(bell_fd)
        os.close(wake_fd)


async def _ring_when_cancelled(bell_fd: int) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        os.write(bell_fd, b"!")
