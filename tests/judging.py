"""Short ways to a verdict, for tests of the policy."""

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Lane, Verdict
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import verdict_of
from luminaguard.policy.tools import judge_tool

CONTEXT = CallContext(workspace="/workspace")


def verdict_on(command: str) -> Verdict:
    """Return the built-in rules' verdict on a shell text."""
    return verdict_of(judge_tool("shell", {"command": command}, CONTEXT))


def lane_of(command: str) -> Lane:
    """Return the lane of a shell text."""
    return verdict_on(command).lane


def lane_of_argv(*argv: str) -> Lane:
    """Return the lane of an argument vector."""
    call = ToolCall(call_id="c", tool="exec", arguments={"argv": [*argv]})
    return verdict_of(judge_tool(call.tool, call.arguments, CONTEXT)).lane
