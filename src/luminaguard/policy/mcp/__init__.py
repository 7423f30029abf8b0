"""Judges calls to tools of MCP servers, and remembers which servers and definitions are trusted.

Names, descriptions, schemas and annotations come from the server, an untrusted party. They can
make a call stricter; milder only for a server that the user trusts, and never against evidence.
"""

from luminaguard.policy.mcp.call import McpCall, ToolDefinition
from luminaguard.policy.mcp.judge import judge_mcp

__all__ = ["McpCall", "ToolDefinition", "judge_mcp"]
