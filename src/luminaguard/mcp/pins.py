"""What a tool is, as one digest: whatever changes about it, the digest changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from mcp_types import Tool

from luminaguard.domain.calls import canonical_json

Pins = Mapping[str, str]
"""Tool's name → digest of its definition."""


def definition(tool: Tool) -> dict[str, Any]:
    """Return a tool's whole definition as it came over the wire: JSON, hints included."""
    return tool.model_dump(mode="json", by_alias=True, exclude_none=True)


def digest(tool: Tool) -> str:
    """Return SHA-256 of the definition's canonical form, hexadecimal."""
    return sha256(canonical_json(definition(tool))).hexdigest()


def pins_of(tools: Iterable[Tool]) -> dict[str, str]:
    """Return the pins of a listing."""
    return {tool.name: digest(tool) for tool in tools}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a listing differs from what was pinned; names, sorted."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.added or self.removed or self.changed)


def difference(pinned: Pins, found: Pins) -> Difference:
    """Compare pins."""
    both = pinned.keys() & found.keys()
    return Difference(
        added=tuple(sorted(found.keys() - pinned.keys())),
        removed=tuple(sorted(pinned.keys() - found.keys())),
        changed=tuple(sorted(name for name in both if pinned[name] != found[name])),
    )
