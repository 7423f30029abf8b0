"""The policy as one session meets it: as it is on disk now, with what the session has seen."""

from dataclasses import dataclass, field, replace

from anyio import to_thread

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.outcome import Outcome
from luminaguard.domain.verdict import Verdict
from luminaguard.errors import ChangesetConflict
from luminaguard.policy.policy import CallContext, Policy
from luminaguard.policy.source import PolicySource
from luminaguard.policy.taint import seen_in_path, seen_in_verdict
from luminaguard.policy.tools import READING_TOOLS


@dataclass(slots=True, kw_only=True)
class Judging:
    """Judges one call at a time, and again right before its effect."""

    source: PolicySource
    context: CallContext
    policy: Policy = field(default_factory=Policy)
    """In force for the call at hand."""

    async def judge(self, call: ToolCall) -> Verdict:
        """Return the verdict under the rules as they are now."""
        self.policy = await to_thread.run_sync(self.source.current)
        return self.policy.judge(call, self.context)

    def weigh(self, call: ToolCall, verdict: Verdict, changeset: Changeset) -> Verdict:
        """Return the verdict once the effect is known: FORBIDDEN if a rule denies the change."""
        return self.policy.measured(call, self.context, verdict, changeset)

    async def confirm(self, call: ToolCall) -> None:
        """Return only if rules and verdict are still what they were when the call was judged.

        Raises:
            ChangesetConflict: they changed while the call was pending.
        """
        now = await to_thread.run_sync(self.source.current)
        is_same = now.judge(call, self.context) == self.policy.judge(call, self.context)
        if now.version != self.policy.version or not is_same:
            raise ChangesetConflict(
                "the policy changed while the call was pending",
                hint="run the call again: it is judged by the rules as they are now",
            )

    def saw(self, outcome: Outcome) -> None:
        """Remember what the output of a call that may be seen has shown to the model."""
        if outcome.report is None:
            return
        seen = self.context.taint | seen_in_verdict(outcome.verdict)
        path = outcome.call.arguments.get("path")
        if outcome.call.tool in READING_TOOLS and isinstance(path, str):
            seen |= seen_in_path(self.context.resolve(path), self.context.workspace)
        self.context = replace(self.context, taint=seen)
