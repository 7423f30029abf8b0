"""The loop: model, tool calls, guard, results, model."""
