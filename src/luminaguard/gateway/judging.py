"""The policy as the gateway meets it: many calls at once, one memory of what was seen."""

from dataclasses import dataclass

from anyio import to_thread

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Verdict
from luminaguard.errors import ChangesetConflict, PolicyError
from luminaguard.gateway.proposal import Proposal
from luminaguard.policy.mcp.call import McpCall, ToolDefinition
from luminaguard.policy.mcp.trust import TrustBook
from luminaguard.policy.policy import Policy
from luminaguard.policy.source import PolicySource
from luminaguard.policy.taint import CLEAN, Taint, seen_in_mcp


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A verdict, and all that it was made from."""

    mcp: McpCall
    policy: Policy
    taint: Taint
    verdict: Verdict

    @property
    def definition(self) -> ToolDefinition | None:
        """What the server says of the tool."""
        return self.mcp.definition


@dataclass(slots=True, kw_only=True)
class McpJudging:
    """Judges calls to servers, and again right before their effect."""

    source: PolicySource
    trust: TrustBook
    taint: Taint = CLEAN
    """What has been seen since the gateway began, by any of its clients: it only grows."""

    async def judge(self, proposal: Proposal[object]) -> Judged:
        """Return the verdict under rules, trust and definitions as they are now."""
        return await to_thread.run_sync(self._judged, proposal, self.taint)

    async def confirm(self, proposal: Proposal[object], earlier: Judged) -> None:
        """Return only if nothing that the verdict was made from has changed since.

        Raises:
            ChangesetConflict: rules, trust or the tool's definition are others by now.
        """
        now = await self.judge(proposal)
        if now.definition != earlier.definition:
            raise ChangesetConflict(
                "the server changed what it says of this tool while the call was pending",
                hint="look at it again: luminaguard mcp tools; then call again",
            )
        alike = now
        if now.taint != earlier.taint:
            alike = await to_thread.run_sync(self._judged, proposal, earlier.taint)
        is_same = alike.verdict == earlier.verdict and alike.mcp == earlier.mcp
        if now.policy.version != earlier.policy.version or not is_same:
            raise ChangesetConflict(
                "the policy or the trust in the server changed while the call was pending",
                hint="call again: it is judged by the rules as they are now",
            )
        stricter = now.verdict.lane is not earlier.verdict.lane
        if stricter or now.verdict.risk.rank > earlier.verdict.risk.rank:
            raise ChangesetConflict(
                "what other calls have shown meanwhile makes this one riskier than it was judged",
                hint="call again: it is judged with what is known now",
            )

    def saw(self, judged: Judged) -> None:
        """Remember what a result has shown to the client's model."""
        self.taint = self.taint | seen_in_mcp(judged.mcp)

    def _judged(self, proposal: Proposal[object], taint: Taint) -> Judged:
        policy = self.source.current()
        bare = ToolCall(
            call_id=proposal.call.call_id,
            tool=proposal.tool,
            arguments=proposal.call.arguments,
        )
        definition = proposal.definition()
        if proposal.is_pinned:
            mcp = self.trust.call(proposal.server, proposal.identity, bare, definition)
        else:
            trusted = self._trusts(proposal.server, proposal.identity)
            mcp = McpCall(server=proposal.server, call=bare, trusted=trusted, definition=definition)
        verdict = policy.judge_mcp(mcp, taint)
        return Judged(mcp=mcp, policy=policy, taint=taint, verdict=verdict)

    def _trusts(self, server: str, identity: str) -> bool:
        try:
            known = self.trust.servers()
        except (PolicyError, OSError):
            return False
        return any(one.server == server and one.identity == identity for one in known)
