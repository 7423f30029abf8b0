"""From a rehearsal to a decision: by what was said beforehand, else by a card and its answer."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import anyio

from luminaguard.approval.card import DiffCard
from luminaguard.approval.queue import ApprovalQueue
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Verdict
from luminaguard.errors import ApprovalError, AuditError, PolicyError
from luminaguard.pipeline.machine import SessionMachine
from luminaguard.pipeline.record import Recorder
from luminaguard.pipeline.rehearsal import Rehearsal
from luminaguard.pipeline.standing import StandingYeses, grant_taken
from luminaguard.policy.grants.grant import Grant
from luminaguard.policy.grants.offers import Offer
from luminaguard.policy.measured import risk_of
from luminaguard.policy.standing import StandingYes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A recorded decision, and what it is bound to."""

    request: ApprovalRequest
    decision: Decision
    standing: StandingYes | None = None
    """What answered for the human; None if somebody was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Asks about one rehearsal at a time."""

    queue: ApprovalQueue
    machine: SessionMachine
    recorder: Recorder
    standing: StandingYeses
    session_id: str
    timeout_s: float
    now: Callable[[], datetime]
    notice: Callable[[str], None]

    async def ask(self, call: ToolCall, verdict: Verdict, rehearsal: Rehearsal) -> Answer:
        """Return the recorded answer: a standing yes if one covers it, else the approver's."""
        request = self._request(call, rehearsal)
        found = await self.standing.find(call, verdict, rehearsal)
        if isinstance(found, StandingYes):
            decision = said_beforehand(found, request)
            card = await self._card(call, verdict, rehearsal, request, ())
            await self.recorder.decided(call, request, decision, unseen=card)
            return Answer(request=request, decision=decision, standing=found)
        if found.why:
            verdict = replace(verdict, reasons=(*verdict.reasons, found.why))
        decision = await self._answered(call, verdict, rehearsal, request)
        return Answer(request=request, decision=decision)

    async def _answered(
        self, call: ToolCall, verdict: Verdict, rehearsal: Rehearsal, request: ApprovalRequest
    ) -> Decision:
        """Show the measured effect, and return the recorded answer."""
        offers = await self.standing.offers(call, verdict, rehearsal)
        card = await self._card(call, verdict, rehearsal, request, offers)
        await self.recorder.requested(call, card)
        decision = await answered(
            self.queue,
            self.recorder,
            card,
            now=self.now,
            withdrawn="the call was interrupted, or its session ended",
        )
        grant: Grant | None = None
        try:
            grant = grant_taken(decision, request, offers)
        except ApprovalError as error:
            decision = replace(decision, end=End.FAILED, reason=str(error), grant="")
        await self.recorder.decided(call, request, decision, grant)
        if grant is not None:
            await self._keep(grant)
        return decision

    async def _card(
        self,
        call: ToolCall,
        verdict: Verdict,
        rehearsal: Rehearsal,
        request: ApprovalRequest,
        offers: Sequence[Offer],
    ) -> DiffCard:
        material = await self.machine.material(rehearsal)
        return DiffCard(
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
            offers=tuple(offer.shown for offer in offers),
        )

    async def _keep(self, grant: Grant) -> None:
        """The yes holds for this call whether or not it can be remembered."""
        try:
            await self.standing.keep(grant)
        except PolicyError as error:
            self.notice(f"approved, but not remembered: {error}")

    def _request(self, call: ToolCall, rehearsal: Rehearsal) -> ApprovalRequest:
        now = self.now()
        return ApprovalRequest(
            nonce=secrets.token_hex(16),
            session_id=self.session_id,
            workspace=self.machine.tree.identity,
            call_digest=call.digest,
            changeset_digest=rehearsal.changeset.digest,
            base=rehearsal.changeset.base,
            policy_version=self.standing.judging.policy.version,
            requested_at=now,
            expires_at=now + timedelta(seconds=self.timeout_s),
        )


async def answered(
    queue: ApprovalQueue,
    recorder: Recorder,
    card: DiffCard,
    *,
    now: Callable[[], datetime],
    withdrawn: str,
) -> Decision:
    """Put a card to the queue and return the answer; one that is taken back is recorded as that.

    Nothing depends on that record: a question that is taken back lets nothing happen anyway.
    """
    request = card.request
    try:
        return await queue.ask(request, card)
    except anyio.get_cancelled_exc_class():
        decision = Decision(
            end=End.FAILED,
            request_digest=request.digest,
            approver=queue.approver.name,
            reason=f"withdrawn: {withdrawn}",
            at=now(),
        )
        with anyio.CancelScope(shield=True), suppress(AuditError):
            await recorder.decided(card.call, request, decision)
        raise


def said_beforehand(found: StandingYes, request: ApprovalRequest) -> Decision:
    """Return a standing yes as the decision on a request."""
    return Decision(
        end=End.APPROVED,
        request_digest=request.digest,
        approver=found.approver,
        reason=found.reason,
        at=request.requested_at,
        proof=found.proof,
    )
