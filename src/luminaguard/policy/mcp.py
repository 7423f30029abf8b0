"""Judging calls to tools of MCP servers.

Descriptions and annotations come from the server, an untrusted party: nothing in them makes a
call milder. What such a tool does happens elsewhere and cannot be rehearsed, so it is always asked
about.
"""

from dataclasses import dataclass

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.findings import Finding, shown, verdict_of


@dataclass(frozen=True, slots=True, kw_only=True)
class McpCall:
    """A proposed call to a tool of an MCP server."""

    server: str
    call: ToolCall


def judge_mcp(mcp: McpCall) -> Verdict:
    """Return the verdict on a call to an MCP server's tool: red, whatever the server says."""
    return verdict_of(
        [
            Finding(
                lane=Lane.RED,
                risk=Risk.HIGH,
                rule="mcp-unknown-effect",
                reason=f"what {shown(mcp.call.tool)} of server {shown(mcp.server)} does cannot be "
                "rehearsed",
            )
        ]
    )
