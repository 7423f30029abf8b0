"""MCP servers for tests: the SDK's own, by HTTP, and hostile ones on bare sockets and pipes."""
