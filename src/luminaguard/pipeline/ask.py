"""From a rehearsal to a decision: build the request and its card, record them, ask."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from luminaguard.approval.card import DiffCard
from luminaguard.approval.queue import ApprovalQueue
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Verdict
from luminaguard.errors import AuditError
from luminaguard.pipeline.machine import SessionMachine
from luminaguard.pipeline.record import Recorder
from luminaguard.pipeline.rehearsal import Rehearsal
from luminaguard.policy.measured import risk_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Asks about one rehearsal at a time."""

    queue: ApprovalQueue
    machine: SessionMachine
    recorder: Recorder
    session_id: str
    timeout_s: float
    now: Callable[[], datetime]

    async def ask(
        self, call: ToolCall, verdict: Verdict, rehearsal: Rehearsal
    ) -> tuple[ApprovalRequest, Decision]:
        """Show the measured effect and return the recorded decision with what it is bound to."""
        material = await self.machine.material(rehearsal)
        request = self._request(call, rehearsal)
        card = DiffCard(
            request=request,
            call=call,
            verdict=verdict,
            measured_risk=risk_of(rehearsal.changeset),
            isolation=rehearsal.isolation,
            changeset=rehearsal.changeset,
            diffs=material.diffs,
            report=rehearsal.report,
            host_changes=material.host_changes,
            left_out=material.left_out,
            git=material.git,
        )
        await self.recorder.requested(call, card)
        try:
            decision = await self.queue.ask(request, card)
        except anyio.get_cancelled_exc_class():
            await self._withdrawn(call, request)
            raise
        await self.recorder.decided(call, request, decision)
        return request, decision

    async def _withdrawn(self, call: ToolCall, request: ApprovalRequest) -> None:
        """Record that a question was taken back. Nothing depends on it: nothing happens anyway."""
        decision = Decision(
            end=End.FAILED,
            request_digest=request.digest,
            approver=self.queue.approver.name,
            reason="withdrawn: the call was interrupted, or its session ended",
            at=self.now(),
        )
        with anyio.CancelScope(shield=True), suppress(AuditError):
            await self.recorder.decided(call, request, decision)

    def _request(self, call: ToolCall, rehearsal: Rehearsal) -> ApprovalRequest:
        now = self.now()
        return ApprovalRequest(
            nonce=secrets.token_hex(16),
            session_id=self.session_id,
            workspace=self.machine.tree.identity,
            call_digest=call.digest,
            changeset_digest=rehearsal.changeset.digest,
            base=rehearsal.changeset.base,
            policy_version=self.recorder.policy_version,
            requested_at=now,
            expires_at=now + timedelta(seconds=self.timeout_s),
        )
