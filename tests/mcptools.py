"""Labeled MCP tools for tests, and calls to them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Lane, Verdict
from luminaguard.policy.mcp import McpCall, ToolDefinition, judge_mcp

DATA = Path(__file__).parent / "data" / "mcp"

LYING = {
    "readOnlyHint": True,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": False,
}
"""The hints of a harmless read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled:
    """One tool and what its verdict should be."""

    id: str
    server: str
    tool: str
    description: str
    annotations: Mapping[str, Any]
    expected: Lane
    required: tuple[str, ...] = field(default=())

    def judged(self, *, annotations: Mapping[str, Any] | None = None, **changes: Any) -> Verdict:
        """Return the verdict on a call to it on a trusted server, with what is changed."""
        return judged(
            changes.pop("tool", self.tool),
            server=self.server,
            description=changes.pop("description", self.description),
            annotations=self.annotations if annotations is None else annotations,
            required=self.required,
            **changes,
        )


def judged(
    tool: str,
    *,
    description: str = "",
    annotations: Mapping[str, Any] | None = None,
    required: tuple[str, ...] = (),
    schema: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    trusted: bool = True,
    server: str = "server",
) -> Verdict:
    """Return the verdict on a call to a tool of a trusted server."""
    definition = ToolDefinition(
        name=tool,
        description=description,
        input_schema=schema or ({"type": "object", "required": list(required)} if required else {}),
        annotations=annotations or {},
    )
    call = ToolCall(call_id="c", tool=tool, arguments=arguments or {})
    return judge_mcp(McpCall(server=server, call=call, trusted=trusted, definition=definition))


def scored(name: str) -> list[Labeled]:
    """Return the rows of a file that count: those labeled with confidence."""
    rows = [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]
    return [
        Labeled(
            id=row["id"],
            server=row["server"],
            tool=row["tool"],
            description=row["description"],
            annotations=row["annotations"] or {},
            expected=Lane(row["expected"]),
            required=tuple(row.get("required", ())),
        )
        for row in rows
        if row.get("confidence", "high") == "high"
    ]
