"""One MCP server in front of many: the same policy, approval and audit before every tool."""
