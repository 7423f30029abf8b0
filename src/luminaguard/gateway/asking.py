"""From a red call to a decision: the user's rule, else a card with the predicted effect."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from luminaguard.approval.card import DiffCard
from luminaguard.approval.queue import ApprovalQueue
from luminaguard.domain.approval import ApprovalRequest, Decision
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.isolation import GuestHardening, Isolation, Jail, Tier
from luminaguard.gateway.judging import Judged
from luminaguard.gateway.proposal import Proposal, spelled
from luminaguard.pipeline.ask import answered, said_beforehand
from luminaguard.pipeline.record import Recorder
from luminaguard.policy.measured import risk_of
from luminaguard.policy.standing import StandingYes

NOTHING_MEASURED = Changeset(base="nothing is measured of a call to an MCP server")
"""What approvals of such calls are bound to: no file of the workspace may change by them."""
NOT_OURS = Isolation(
    backend="mcp",
    tier=Tier.PROCESS,
    accelerator="none",
    jail=Jail(layers=(), missing={"all": "the server runs outside of LuminaGuard's machines"}),
    guest=GuestHardening(profile="none", lsm="none"),
)
"""What stands between a server's effects and the world: nothing of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpAnswer:
    """A recorded decision, and what it is bound to."""

    request: ApprovalRequest
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class McpAsking:
    """Asks about calls to servers; many at once."""

    queue: ApprovalQueue
    recorder: Recorder
    timeout_s: float
    now: Callable[[], datetime]
    place: str
    """Named as the workspace in requests: which gateway asks."""

    async def ask(self, proposal: Proposal[object], judged: Judged) -> McpAnswer:
        """Return the recorded answer: that of the user's rule if one covers it, else a human's."""
        request = self._request(proposal, judged)
        found = judged.policy.standing(judged.verdict, NOTHING_MEASURED)
        if isinstance(found, StandingYes):
            decision = said_beforehand(found, request)
        else:
            card = card_of(proposal, judged, request)
            await self.recorder.requested(proposal.call, card)
            decision = await answered(
                self.queue,
                self.recorder,
                card,
                now=self.now,
                withdrawn="the client gave the call up, or the gateway ended",
            )
        await self.recorder.decided(proposal.call, request, decision)
        return McpAnswer(request=request, decision=decision)

    def _request(self, proposal: Proposal[object], judged: Judged) -> ApprovalRequest:
        now = self.now()
        return ApprovalRequest(
            nonce=secrets.token_hex(16),
            session_id=self.recorder.session_id,
            workspace=self.place,
            call_digest=proposal.call.digest,
            changeset_digest=NOTHING_MEASURED.digest,
            base=NOTHING_MEASURED.base,
            policy_version=judged.policy.version,
            requested_at=now,
            expires_at=now + timedelta(seconds=self.timeout_s),
            tool_definition=judged.definition.digest if judged.definition else None,
            server=f"{proposal.server}: {proposal.identity}",
        )


def card_of(proposal: Proposal[object], judged: Judged, request: ApprovalRequest) -> DiffCard:
    """Return the card of a call: what would be sent, in full, and what the server says of it."""
    definition = judged.definition
    trust = "trusted by you" if judged.mcp.trusted else "not trusted by you"
    predicted = (
        "Nothing was rehearsed: what the server does with the call cannot be measured beforehand.",
        f"Exactly this is sent to {proposal.server} ({proposal.identity}), {trust}:",
        f"{proposal.tool} {proposal.call.digest}",
        *spelled(proposal.call.arguments),
        "While the call runs, the server may put questions to the client's user and model, and is "
        "given the answers.",
    )
    said = definition.description if definition else ""
    prose = f"The server {proposal.server!r} describes its tool so: {said}" if said else ""
    return DiffCard(
        request=request,
        call=proposal.call,
        verdict=judged.verdict,
        measured_risk=risk_of(NOTHING_MEASURED),
        isolation=NOT_OURS,
        changeset=NOTHING_MEASURED,
        predicted=predicted,
        prose=prose,
    )
