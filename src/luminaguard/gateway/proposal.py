"""One request to a server, as it is judged, shown, approved and recorded."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import mcp_types as types

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.policy.mcp.call import ToolDefinition

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal(Generic[T_co]):
    """What a client wants done, and how it would be done."""

    server: str
    identity: str
    """Of the server: where it comes from."""
    tool: str
    """As the server itself calls it."""
    call: ToolCall
    """Named "server__tool": cards, approvals and records are about this one."""
    definition: Callable[[], ToolDefinition | None]
    """What the server says of the tool, as last heard."""
    refresh: Callable[[], Awaitable[None]]
    """Hears anew what the server says of the tool."""
    send: Callable[["Permit"], Awaitable[T_co]]
    """Does it. Called at most once."""
    is_pinned: bool = True
    """False for requests of the protocol itself, which no server defines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """How a request was let through."""

    is_approved: bool
    """By a human, rule or grant; else it was found to be a pure read."""


def definition_of(tool: types.Tool) -> ToolDefinition:
    """Return what a server says of a tool, as policy and pins take it."""
    schema = cast("Mapping[str, JsonValue]", tool.input_schema)
    hints: dict[str, Any] = {}
    if tool.annotations is not None:
        hints = tool.annotations.model_dump(mode="json", by_alias=True, exclude_none=True)
    return ToolDefinition(
        name=tool.name,
        description=tool.description or "",
        input_schema=schema,
        annotations=hints,
    )


def spelled(arguments: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return arguments in lines for people: every one, in a fixed order, nothing cut."""
    text = json.dumps(dict(arguments), indent=1, sort_keys=True, ensure_ascii=False)
    return tuple(text.split("\n"))
