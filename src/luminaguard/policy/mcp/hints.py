"""The hints of a tool's annotations, in either spelling.

Source: MCP specification 2025-11-25, ToolAnnotations: absent means not read-only and destructive;
clients must not believe them unless they trust the server.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from luminaguard.domain.calls import JsonValue

_SPELLINGS = {
    "read_only": ("readOnlyHint", "read_only_hint"),
    "destructive": ("destructiveHint", "destructive_hint"),
}
"""Both are met: the wire has camelCase, the Python SDK's objects snake_case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a server says of the effects of its tool."""

    says_read_only: bool
    """It claims a read, in all spellings that it used, and does not contradict itself."""
    against: tuple[str, ...]
    """Hints that say it writes, as they stand there."""


def hints_in(annotations: Mapping[str, JsonValue]) -> Hints:
    """Return the hints; a value that is neither true nor false counts as the worse one."""
    read_only = _values(annotations, "read_only")
    destructive = _values(annotations, "destructive")
    against = [key for key, value in read_only.items() if value is not True]
    if read_only:  # alone, "destructive" repeats what an absent hint means anyway
        against += [key for key, value in destructive.items() if value is not False]
    return Hints(says_read_only=bool(read_only) and not against, against=tuple(against))


def _values(annotations: Mapping[str, JsonValue], hint: str) -> dict[str, JsonValue]:
    return {key: annotations[key] for key in _SPELLINGS[hint] if annotations.get(key) is not None}
