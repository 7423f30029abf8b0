"""What a model may call; each tool turns a ToolCall into a guest Execution."""
