"""Error rates on labelled commands: the published ones, and ours that no rule was written for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from judging import lane_of, verdict_on
from luminaguard.domain.verdict import Lane, Risk

DATA = Path(__file__).parents[2] / "data" / "commands"
FILES = ("public.jsonl", "own.jsonl")
SAFE_FILES = (*FILES, "second.jsonl")


def rows(file: str, label: str) -> Iterator[str]:
    for line in (DATA / file).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["tier"] == "core" and row["label"] == label:
            yield row["command"]


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("file", FILES)
def test_no_dangerous_command_runs_unasked(file: str) -> None:
    green = [command for command in rows(file, "dangerous") if lane_of(command) is Lane.GREEN]
    assert green == []


@pytest.mark.parametrize("file", FILES)
def test_at_most_one_in_a_hundred_commands_that_need_approval_runs_unasked(file: str) -> None:
    commands = list(rows(file, "needs_approval"))
    green = [command for command in commands if lane_of(command) is Lane.GREEN]
    assert len(green) <= len(commands) / 100, green


@pytest.mark.parametrize("file", SAFE_FILES)
def test_at_least_97_in_a_hundred_safe_commands_run_unasked(file: str) -> None:
    commands = list(rows(file, "safe"))
    asked = [command for command in commands if lane_of(command) is not Lane.GREEN]
    assert len(asked) <= 0.03 * len(commands), asked


@pytest.mark.parametrize("file", FILES)
def test_nearly_all_dangerous_commands_have_a_high_risk(file: str) -> None:
    commands = list(rows(file, "dangerous"))
    low = [c for c in commands if verdict_on(c).risk.rank < Risk.HIGH.rank]
    assert len(low) <= len(commands) / 20, low


@pytest.mark.parametrize("file", FILES)
def test_every_red_verdict_names_its_rule_and_the_token_that_decided(file: str) -> None:
    for command in (*rows(file, "dangerous"), *rows(file, "needs_approval")):
        verdict = verdict_on(command)
        assert verdict.rules
        assert all(verdict.reasons)
        assert any("'" in reason or '"' in reason for reason in verdict.reasons), verdict.reasons
