"""Judging calls to tools of MCP servers.

What such a tool does happens elsewhere and cannot be rehearsed, so it is always asked about.
"""

from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.findings import Finding, shown, verdict_of
from luminaguard.policy.mcp.call import McpCall


def judge_mcp(mcp: McpCall) -> Verdict:
    """Return the verdict on a call to an MCP server's tool. Nothing runs."""
    return verdict_of(findings_on(mcp))


def findings_on(mcp: McpCall) -> list[Finding]:
    """Return what the rules say of a call, for a caller that adds findings of its own."""
    return [
        Finding(
            lane=Lane.RED,
            risk=Risk.HIGH,
            rule="mcp-unknown-effect",
            reason=f"what {shown(mcp.call.tool)} of server {shown(mcp.server)} does cannot be "
            "rehearsed",
            reaches=(f"MCP server {shown(mcp.server)}",),
        )
    ]
