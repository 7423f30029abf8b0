"""The only way to any tool.

    ToolCall ─▶ policy ─▶ Verdict ─┬ FORBIDDEN ─▶ denied
                                   └ GREEN, RED ─▶ rehearse ─▶ measured Changeset
                                        ├ a rule denies the change ─▶ denied
                                        ├ nothing to ask about ─▶ executed
                                        └ standing yes, or card ─▶ approver
                                             └▶ Decision ─▶ commit │ destroy

Every arrow is recorded first. Whatever cannot be known, asked, recorded or done ends with nothing
done: the machine is destroyed and the workspace is as it was.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import anyio

from luminaguard.approval.bind import still_binds
from luminaguard.domain.approval import End
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.outcome import Outcome
from luminaguard.domain.verdict import Lane, Verdict
from luminaguard.errors import (
    AuditError,
    Interrupted,
    LuminaGuardError,
    RecoveryNeeded,
)
from luminaguard.pipeline.ask import Answer, Asking
from luminaguard.pipeline.judging import Judging
from luminaguard.pipeline.machine import SessionMachine
from luminaguard.pipeline.outcomes import (
    committed,
    denied,
    discarded,
    executed,
    failed,
    timed_out,
    was_cut_short,
)
from luminaguard.pipeline.record import Recorder
from luminaguard.pipeline.rehearsal import Rehearsal, released
from luminaguard.tools.toolbox import Toolbox


@dataclass(slots=True, kw_only=True)
class Guard:
    """Takes one call at a time from proposal to outcome."""

    judging: Judging
    toolbox: Toolbox
    machine: SessionMachine
    asking: Asking
    recorder: Recorder
    now: Callable[[], datetime]
    no_effect_rule: bool = True
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def handle(self, call: ToolCall) -> Outcome:
        """Take a call to its end. The outcome is recorded before it is returned.

        Raises:
            AuditWriteFailed: the call or its end could not be recorded. Unrecorded calls never ran.
        """
        async with self._turn:
            verdict = await self.judging.judge(call)
            await self.recorder.proposed(call, verdict, self.judging.policy.version)
            outcome = await self._interruptible(call, verdict)
            outcome = await self.recorder.ended(outcome)
            self.judging.saw(outcome)
            return outcome

    def interrupt(self) -> None:
        """End the call in progress, or else the next one, as failed.

        A commit that has begun is brought to its end.
        """
        self._scope.cancel()

    async def _interruptible(self, call: ToolCall, verdict: Verdict) -> Outcome:
        finished = False
        try:
            with self._scope:
                outcome = await self._carry_out(call, verdict)
                finished = True
                return outcome
        finally:
            self._scope = anyio.CancelScope()
            if not finished:
                await self.machine.destroy()
        return failed(call, verdict, Interrupted("interrupted by the user"), self.now())

    async def _carry_out(self, call: ToolCall, verdict: Verdict) -> Outcome:
        if verdict.lane is Lane.FORBIDDEN:
            return denied(call, verdict)
        rehearsal: Rehearsal | None = None
        answer: Answer | None = None
        try:
            execution = self.toolbox.plan(call, self.machine.workspace_path)
            rehearsal = await self.machine.rehearse(execution)
            self.recorder.measured(call, rehearsal)
            if was_cut_short(rehearsal):
                await self.machine.destroy()
                return timed_out(call, verdict, rehearsal, execution.timeout_s, self.now())
            verdict = self.judging.weigh(call, verdict, rehearsal.changeset)
            if verdict.lane is Lane.FORBIDDEN:
                await self.machine.destroy()
                return denied(call, verdict, rehearsal)
            free = released(verdict, rehearsal, no_effect_rule=self.no_effect_rule)
            if free is not None:
                return executed(call, free, rehearsal)
            answer = await self.asking.ask(call, verdict, rehearsal)
            if answer.decision.end is not End.APPROVED:
                await self.machine.destroy()
                return discarded(call, verdict, rehearsal, answer.decision)
            return await _to_its_end(self._settle(call, verdict, rehearsal, answer))
        except LuminaGuardError as error:
            await self.machine.destroy()
            decision = answer.decision if answer else None
            return failed(call, verdict, error, self.now(), rehearsal=rehearsal, decision=decision)

    async def _settle(
        self, call: ToolCall, verdict: Verdict, rehearsal: Rehearsal, answer: Answer
    ) -> Outcome:
        """Bring the approved effect to the host; nothing can come between check and effect."""
        decision = answer.decision
        await self.judging.confirm(call)
        if answer.standing is not None:
            await self.asking.standing.use(answer.standing)
        still_binds(
            answer.request,
            decision,
            call_digest=call.digest,
            changeset_digest=rehearsal.changeset.digest,
            policy_version=self.judging.policy.version,
            now=self.now(),
        )
        if rehearsal.changeset.is_empty:
            return executed(call, verdict, rehearsal, decision)
        await self.recorder.committing(call, rehearsal)
        try:
            settled = await self.machine.commit(rehearsal)
        except RecoveryNeeded:
            raise
        except LuminaGuardError as error:
            await self.recorder.finished_commit(call, rehearsal, error.code)
            raise
        try:
            await self.recorder.finished_commit(call, settled, "committed")
        except AuditError as error:
            raise RecoveryNeeded("the change is committed, but not recorded as such") from error
        return committed(call, verdict, settled, decision)


async def _to_its_end(work: Awaitable[Outcome]) -> Outcome:
    """Keep an interruption out until the work is done: a commit is never left half recorded."""
    with anyio.CancelScope(shield=True):
        return await work
    raise RuntimeError("a shielded scope cannot be left early")
