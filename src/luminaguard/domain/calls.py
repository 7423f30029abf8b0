"""What a model, or a user on the command line, asks to have done."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

JsonScalar = str | int | float | bool | None
JsonValue = JsonScalar | list["JsonValue"] | Mapping[str, "JsonValue"]


def canonical_json(value: object) -> bytes:
    """Return the one byte form of a JSON value: sorted keys, no spaces, UTF-8.

    Digests, approvals and audit records are all taken over this form.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One proposed action: a tool's name and its arguments."""

    call_id: str
    tool: str
    arguments: Mapping[str, JsonValue]

    @property
    def canonical(self) -> bytes:
        """The byte form that is judged, shown, approved and recorded."""
        return canonical_json({"tool": self.tool, "arguments": dict(self.arguments)})

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form, hexadecimal."""
        return sha256(self.canonical).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as a model sees it: name, description, JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, JsonValue]
