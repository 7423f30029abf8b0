"""A call to a tool of an MCP server, and what the server says of that tool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import cast

from luminaguard.domain.calls import JsonValue, ToolCall, canonical_json

_NOTHING: Mapping[str, JsonValue] = {}


def _nothing() -> Mapping[str, JsonValue]:
    return _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    """What a server says of one of its tools. All of it is the server's word."""

    name: str
    description: str = ""
    input_schema: Mapping[str, JsonValue] = field(default_factory=_nothing)
    """JSON Schema of the arguments; empty if the server gave none."""
    annotations: Mapping[str, JsonValue] = field(default_factory=_nothing)
    """Hints as the server wrote them, camelCase or snake_case."""

    @property
    def canonical(self) -> bytes:
        """The byte form that is pinned: it does not depend on the order of keys."""
        return canonical_json(
            {
                "name": self.name,
                "description": self.description,
                "input_schema": self.input_schema,
                "annotations": self.annotations,
            }
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form, hexadecimal: pins and approvals name it."""
        return sha256(self.canonical).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class McpCall:
    """A proposed call to a tool of an MCP server."""

    server: str
    """The server's name, as the user configured it."""
    call: ToolCall
    trusted: bool = False
    """Whether the user trusts the server *and* its definition of the tool is the pinned one."""
    definition: ToolDefinition | None = None
    """What the server says of the tool; None if it is not known: then nothing makes it milder."""


def mcp_call_from(fields: Mapping[str, JsonValue]) -> McpCall:
    """Return the call that a JSON object describes, as `luminaguard check` reads them.

    Keys: `server`, `tool`; optional `arguments`, `trusted` (only JSON's `true` counts),
    `description`, `annotations`, `input_schema` or `inputSchema`. Others are not looked at.

    Raises:
        ValueError: a key is missing or holds the wrong kind of value.
    """
    tool = _text(fields, "tool")
    said = ("description", "annotations", "input_schema", "inputSchema")
    definition = ToolDefinition(
        name=tool,
        description=_text(fields, "description", ""),
        input_schema=_object(fields, "input_schema") or _object(fields, "inputSchema"),
        annotations=_object(fields, "annotations"),
    )
    return McpCall(
        server=_text(fields, "server"),
        call=ToolCall(call_id="check", tool=tool, arguments=_object(fields, "arguments")),
        trusted=fields.get("trusted") is True,
        definition=definition if any(fields.get(key) is not None for key in said) else None,
    )


def _text(fields: Mapping[str, JsonValue], key: str, absent: str | None = None) -> str:
    value = fields.get(key)
    if value is None and absent is not None:
        return absent
    if not isinstance(value, str):
        raise ValueError(f"{key!r} must be text")  # noqa: TRY004 - a bad line, not a bug
    return value


def _object(fields: Mapping[str, JsonValue], key: str) -> Mapping[str, JsonValue]:
    value = fields.get(key)
    if value is None:
        return _NOTHING
    if not isinstance(value, Mapping):
        raise ValueError(f"{key!r} must be an object")  # noqa: TRY004
    return cast("Mapping[str, JsonValue]", value)
