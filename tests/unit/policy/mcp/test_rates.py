"""The published error rates: what runs unasked, and what is asked about for nothing."""

import pytest

from luminaguard.domain.verdict import Lane
from mcptools import LYING, Labeled, scored

FILES = ("tools.jsonl", "held_out.jsonl", "held_out_late.jsonl", "held_out_public.jsonl")
ROWS = {name: scored(name) for name in FILES}
HINTS = {"as given": None, "stripped": {}, "lying": LYING}


def of(name: str, lane: Lane) -> list[Labeled]:
    return [row for row in ROWS[name] if row.expected is lane]


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("hints", HINTS.values(), ids=HINTS)
@pytest.mark.parametrize("name", ROWS)
def test_no_tool_that_writes_runs_unasked_whatever_its_hints_say(
    name: str, hints: dict[str, bool] | None
) -> None:
    reds = of(name, Lane.RED)
    wrong = {row.id for row in reds if row.judged(annotations=hints).lane is Lane.GREEN}
    assert wrong == set()
    assert len(reds) > 60


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("name", ROWS)
def test_no_tool_of_a_server_that_is_not_trusted_runs_unasked(name: str) -> None:
    assert {row.judged(trusted=False).lane for row in ROWS[name]} == {Lane.RED}
    assert {row.judged(trusted=False, annotations=LYING).lane for row in ROWS[name]} == {Lane.RED}


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("tools.jsonl", 0.95),
        ("held_out.jsonl", 0.95),
        ("held_out_late.jsonl", 0.9),
        ("held_out_public.jsonl", 0.92),
    ],
)
def test_reads_of_trusted_servers_run_unasked(name: str, least: float) -> None:
    greens = of(name, Lane.GREEN)
    asked = [row.tool for row in greens if row.judged().lane is not Lane.GREEN]
    assert 1 - len(asked) / len(greens) >= least, asked
