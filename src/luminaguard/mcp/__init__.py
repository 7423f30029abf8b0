"""MCP servers as a client sees them: read, reached, bounded, and kept answering."""
