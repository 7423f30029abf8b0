"""Hints of a server: believed only where it is trusted, in either spelling, and at their worst."""

from typing import Any

import pytest

from luminaguard.domain.verdict import Lane
from mcptools import LYING, judged


def lane(annotations: dict[str, Any], **how: Any) -> Lane:
    return judged(
        "matrix_of_them", description="Returns figures.", annotations=annotations, **how
    ).lane


@pytest.mark.parametrize(
    "annotations",
    [
        {"readOnlyHint": True},
        {"read_only_hint": True},
        {"readOnlyHint": True, "destructiveHint": False},
        {"readOnlyHint": True, "read_only_hint": True, "destructiveHint": None},
    ],
)
def test_both_spellings_are_read(annotations: dict[str, Any]) -> None:
    assert lane(annotations) is Lane.GREEN
    assert lane(annotations, trusted=False) is Lane.RED


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "annotations",
    [
        {"readOnlyHint": "true"},
        {"readOnlyHint": 1},
        {"readOnlyHint": False},
        {"readOnlyHint": [True]},
        {"readOnlyHint": True, "read_only_hint": False},
        {"readOnlyHint": True, "destructiveHint": True},
        {"readOnlyHint": True, "destructive_hint": "false"},
        {"readonlyhint": True},
        {},
        {"readOnlyHint": True, "title": "Delete all"},
    ],
)
def test_anything_but_a_clear_hint_counts_as_none_or_worse(annotations: dict[str, Any]) -> None:
    assert lane(annotations) is Lane.RED


@pytest.mark.guarantee("G5")
def test_a_server_that_says_it_writes_is_believed() -> None:
    verdict = judged("get_x", description="Gets x.", annotations={"readOnlyHint": False})
    assert (verdict.lane, verdict.rules) == (Lane.RED, ("mcp-says-writes",))
    assert judged("get_x", description="Gets x.", annotations=LYING).lane is Lane.GREEN
