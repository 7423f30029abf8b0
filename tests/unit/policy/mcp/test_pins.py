"""Definitions are pinned: the same is the same, and a change is seen and shown."""

from dataclasses import replace
from typing import Any

import pytest

from luminaguard.policy.mcp import ToolDefinition
from luminaguard.policy.mcp.pins import PinState, compared

PINNED = ToolDefinition(
    name="get_file",
    description="Gets a file.",
    input_schema={"type": "object", "properties": {"a": {"type": "string"}, "b": {}}},
    annotations={"readOnlyHint": True, "title": "Get"},
)


def test_the_order_of_keys_does_not_matter() -> None:
    same = replace(
        PINNED,
        input_schema={"properties": {"b": {}, "a": {"type": "string"}}, "type": "object"},
        annotations={"title": "Get", "readOnlyHint": True},
    )
    assert same.digest == PINNED.digest
    assert compared(PINNED, same).state is PinState.SAME


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"name": "get_files"}, "+name: get_files"),
        ({"description": "Gets a file.\u200b"}, "+description: Gets a file.<U+200B>"),
        ({"input_schema": {"type": "object"}}, '-input_schema:   "a": {'),
        ({"annotations": {"readOnlyHint": True}}, '-annotations:  "title": "Get"'),
    ],
)
def test_any_change_is_found_and_can_be_read(change: dict[str, Any], shown: str) -> None:
    check = compared(PINNED, replace(PINNED, **change))
    assert check.state is PinState.CHANGED
    assert shown in check.difference


def test_a_tool_that_was_never_pinned_is_new() -> None:
    check = compared(None, PINNED)
    assert check.state is PinState.NEW
    assert "+description: Gets a file." in check.difference


def test_a_long_difference_says_how_much_was_left_out() -> None:
    longer = replace(PINNED, description="\n".join(map(str, range(500))))
    assert compared(PINNED, longer).difference[-1] == "... 301 lines more"
