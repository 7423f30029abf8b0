"""The only way to any server.

    Proposal ─▶ pinned definition, trust ─▶ policy ─▶ Verdict ─┬ FORBIDDEN ─▶ denied
                                                              ├ GREEN ──────────────┐
                                                              └ RED ─▶ rule or card │
                                                                   └▶ Decision ─────┤
          still the same rules, trust, definition, and in time? ◀───────────────────┘
                         └▶ sent once ─▶ executed │ unknown

Every arrow is recorded first. Whatever cannot be known, asked or recorded ends with nothing sent;
whatever was sent and not answered ends as unknown, never as failed.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import anyio

from luminaguard.approval.bind import still_binds
from luminaguard.domain.approval import Decision, End
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.verdict import Lane
from luminaguard.errors import (
    AuditError,
    Interrupted,
    LuminaGuardError,
    McpError,
    McpRefused,
    OutcomeUnknown,
    Retry,
)
from luminaguard.gateway.asking import NOTHING_MEASURED, McpAnswer, McpAsking
from luminaguard.gateway.judging import Judged, McpJudging
from luminaguard.gateway.proposal import Permit, Proposal
from luminaguard.pipeline.outcomes import denied, failed
from luminaguard.pipeline.record import Recorder

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled(Generic[T]):
    """How a request ended, and the server's answer if it may be seen."""

    outcome: Outcome
    result: T | None = None
    error: McpRefused | None = None
    """The error that the server answered with: as good as a result."""


@dataclass(slots=True)
class _Progress:
    """How far a request has come: what its end is called depends on it."""

    judged: Judged
    decision: Decision | None = None
    is_sent: bool = False
    refused: McpRefused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Takes requests from proposal to outcome, any number at once."""

    judging: McpJudging
    asking: McpAsking
    recorder: Recorder
    now: Callable[[], datetime]

    async def handle(self, proposal: Proposal[T]) -> Handled[T]:
        """Take a request to its end. The outcome is recorded before it is returned.

        Raises:
            AuditWriteFailed: the request or its end could not be recorded. What was not recorded
                beforehand was not sent.
        """
        judged = await self.judging.judge(proposal)
        await self.recorder.proposed(proposal.call, judged.verdict, judged.policy.version)
        progress = _Progress(judged)
        try:
            outcome, result = await self._carry_out(proposal, progress)
        except anyio.get_cancelled_exc_class():
            await self._given_up(proposal, progress)
            raise
        outcome = await self.recorder.ended(outcome)
        if result is not None or progress.refused is not None:
            self.judging.saw(judged)
        return Handled(outcome=outcome, result=result, error=progress.refused)

    async def _carry_out(
        self, proposal: Proposal[T], progress: _Progress
    ) -> tuple[Outcome, T | None]:
        verdict = progress.judged.verdict
        if verdict.lane is Lane.FORBIDDEN:
            return denied(proposal.call, verdict), None
        try:
            answer: McpAnswer | None = None
            if verdict.lane is not Lane.GREEN:
                answer = await self.asking.ask(proposal, progress.judged)
                progress.decision = answer.decision
                if answer.decision.end is not End.APPROVED:
                    return self._ended(proposal, progress, OutcomeKind.DISCARDED), None
            result = await self._send(proposal, progress, answer)
            return self._ended(proposal, progress, OutcomeKind.EXECUTED), result
        except AuditError:
            raise
        except McpRefused as error:
            if not progress.is_sent:
                return self._broken(proposal, progress, error), None
            progress.refused = error
            return self._ended(proposal, progress, OutcomeKind.EXECUTED, error), None
        except LuminaGuardError as error:
            return self._broken(proposal, progress, error), None

    async def _send(
        self, proposal: Proposal[T], progress: _Progress, answer: McpAnswer | None
    ) -> T:
        """Send an approved or green request; nothing can come between check and effect."""
        if answer is not None:
            await proposal.refresh()
        await self.judging.confirm(proposal, progress.judged)
        if answer is not None:
            still_binds(
                answer.request,
                answer.decision,
                call_digest=proposal.call.digest,
                changeset_digest=NOTHING_MEASURED.digest,
                policy_version=progress.judged.policy.version,
                now=self.now(),
            )
        progress.is_sent = True
        return await proposal.send(Permit(is_approved=answer is not None))

    def _broken(
        self, proposal: Proposal[T], progress: _Progress, error: LuminaGuardError
    ) -> Outcome:
        is_unsure = isinstance(error, OutcomeUnknown) or error.retry is Retry.UNKNOWN
        if progress.is_sent and isinstance(error, McpError) and is_unsure:
            return self._ended(proposal, progress, OutcomeKind.UNKNOWN, error)
        verdict = progress.judged.verdict
        return failed(proposal.call, verdict, error, self.now(), decision=progress.decision)

    async def _given_up(self, proposal: Proposal[T], progress: _Progress) -> None:
        """Record the end of a request whose client does not wait for it any more."""
        error = Interrupted("the client gave the call up, or the gateway ended")
        if progress.is_sent:
            outcome = self._ended(proposal, progress, OutcomeKind.UNKNOWN, error)
        else:
            verdict = progress.judged.verdict
            outcome = failed(proposal.call, verdict, error, self.now(), decision=progress.decision)
        with anyio.CancelScope(shield=True), suppress(AuditError):
            await self.recorder.ended(outcome)

    def _ended(
        self,
        proposal: Proposal[T],
        progress: _Progress,
        kind: OutcomeKind,
        error: LuminaGuardError | None = None,
    ) -> Outcome:
        return Outcome(
            call=proposal.call,
            kind=kind,
            verdict=progress.judged.verdict,
            decision=progress.decision,
            error=str(error) if error else "",
            error_code=error.code if error else "",
        )
