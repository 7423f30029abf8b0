"""Whether a tool is still what the user accepted: its definition compared with the pinned one.

Pure. A server that changes what it says of a tool after it was trusted (a "rug pull") is not
believed any more until the user has seen the difference and accepted it.
"""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from luminaguard.domain.visible import visible
from luminaguard.policy.mcp.call import ToolDefinition

_MAX_LINES = 200


class PinState(StrEnum):
    """How a definition relates to what the user accepted."""

    SAME = "same"
    CHANGED = "changed"
    NEW = "new"
    """The user has accepted no definition of this tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinCheck:
    """The result of a comparison."""

    state: PinState
    difference: tuple[str, ...] = ()
    """For people, line by line: what was accepted begins with "-", what it is now with "+".
    Hidden characters are spelled out. Longer ones end with a count of what was left out."""


def compared(pinned: ToolDefinition | None, now: ToolDefinition) -> PinCheck:
    """Compare a definition with the pinned one; None means that none was pinned."""
    if pinned is None:
        return PinCheck(state=PinState.NEW, difference=_bounded(list(_lines("+", now))))
    if pinned.canonical == now.canonical:
        return PinCheck(state=PinState.SAME)
    before, after = list(_lines("", pinned)), list(_lines("", now))
    changes = [
        line
        for line in difflib.unified_diff(before, after, lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]
    return PinCheck(state=PinState.CHANGED, difference=_bounded(changes))


def _lines(mark: str, definition: ToolDefinition) -> Iterator[str]:
    yield f"{mark}name: {visible(definition.name)}"
    for line in definition.description.splitlines() or [""]:
        yield f"{mark}description: {visible(line)}"
    for field, value in (
        ("input_schema", definition.input_schema),
        ("annotations", definition.annotations),
    ):
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
        for line in text.split("\n"):
            yield f"{mark}{field}: {visible(line)}"


def _bounded(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - _MAX_LINES
    return tuple(lines) if more <= 0 else (*lines[:_MAX_LINES], f"... {more} lines more")
