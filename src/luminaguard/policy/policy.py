"""The policy: what may run unasked, what is rehearsed and asked about, what never runs.

Judging is pure: the same call in the same context has the same verdict, and nothing that a guest,
a model or a server says enters but the call itself. Green is a short list of pure reads; everything
else is red, and what cannot be read as a call is forbidden.
"""

from hashlib import sha256
from importlib.resources import files

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Verdict
from luminaguard.errors import PolicyError
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import verdict_of
from luminaguard.policy.mcp import McpCall, judge_mcp
from luminaguard.policy.tools import judge_tool

__all__ = ["CallContext", "McpCall", "Policy"]


class Policy:
    """The built-in rules. Safe to share: it holds no state but its version."""

    def __init__(self) -> None:
        self._version = digest_of(_sources())

    @property
    def version(self) -> str:
        """SHA-256 over the rules, hexadecimal: approvals are bound to it."""
        return self._version

    def judge(self, call: ToolCall, context: CallContext) -> Verdict:
        """Return the verdict on a call to a built-in tool. Nothing runs."""
        return verdict_of(judge_tool(call.tool, call.arguments, context))

    def judge_mcp(self, mcp: McpCall) -> Verdict:
        """Return the verdict on a call to a tool of an MCP server. Nothing runs."""
        return judge_mcp(mcp)


def digest_of(sources: dict[str, bytes]) -> str:
    """Return one digest over named sources, in the order of their names."""
    running = sha256()
    for name, content in sorted(sources.items()):
        running.update(f"{name} {len(content)}\n".encode())
        running.update(content)
    return running.hexdigest()


def _sources() -> dict[str, bytes]:
    """Read the code that the rules are: any change to it makes another policy."""
    package = files(__package__ or "luminaguard.policy")
    found = {
        entry.name: entry.read_bytes() for entry in package.iterdir() if entry.name.endswith(".py")
    }
    if not found:
        raise PolicyError(
            "the rules cannot be read, so approvals could not be bound to them",
            hint="reinstall luminaguard with its source files",
        )
    return found
