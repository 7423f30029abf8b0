"""`luminaguard check`: JSON Lines in, verdicts out, whatever comes in."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.cli.check import check


def answers(*lines: bytes | dict[str, Any], policy: Path | None = None) -> list[dict[str, Any]]:
    sent = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    result = CliRunner().invoke(check, ["--policy", str(policy)] if policy else [], input=sent)
    assert result.exit_code == 0, result.exception
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_each_call_is_answered_in_order_with_lane_risk_rules_and_reasons() -> None:
    green, red, mcp = answers(
        {"id": 1, "tool": "shell", "arguments": {"command": "ls"}},
        {"id": "two", "tool": "exec", "arguments": {"argv": ["frobnicate"]}},
        {
            "id": 3,
            "server": "fs",
            "trusted": True,
            "tool": "read_file",
            "description": "Reads a file.",
            "annotations": {"readOnlyHint": True},
            "arguments": {"path": "x"},
        },
    )
    assert green == {
        "id": 1,
        "lane": "green",
        "risk": "low",
        "rules": ["pure-read"],
        "reasons": ["ls only reads"],
    }
    assert (red["id"], red["lane"], red["rules"]) == ("two", "red", ["effect-unknown"])
    assert (mcp["id"], mcp["lane"], mcp["rules"]) == (3, "green", ["pure-read"])


@pytest.mark.parametrize("line", [
    b"not json", b"[1]", b'"x"', b"\xff\xfe", b'{"id": 7}', b'{"id": 7, "tool": 1}', b"[" * 100_000,
    b'{"id": 7, "tool": "shell", "arguments": []}', b'{"id": 7, "tool": "t", "server": 1}',
    b"1" * 5000, b'{"id": NaN}',
])  # fmt: skip
def test_a_bad_line_is_answered_with_an_error_and_the_next_one_is_judged(line: bytes) -> None:
    bad, good = answers(line, {"id": 8, "tool": "shell", "arguments": {"command": "ls"}})
    assert "error" in bad
    assert "lane" not in bad
    if line.startswith(b'{"id": 7'):
        assert bad["id"] == 7
    assert (good["id"], good["lane"]) == (8, "green")


def test_empty_lines_are_passed_over() -> None:
    assert answers(b"", b"  ") == []


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(
    st.sampled_from(["id", "tool", "server", "arguments", "annotations", "x"]),
    st.sampled_from(["shell", "exec", "python", "write_file", "nope"])
    | st.none() | st.integers() | st.text()
    | st.dictionaries(st.sampled_from(["command", "argv", "path", "code", "content"]),
                      st.text() | st.lists(st.text()) | st.none()),
))  # fmt: skip
def test_any_row_gets_one_answer_with_its_id(row: dict[str, Any]) -> None:
    (answer,) = answers(row)
    assert answer["id"] == row.get("id")
    assert ("lane" in answer) != ("error" in answer)


def test_a_call_that_a_rule_lets_pass_is_green_and_names_the_rule(tmp_path: Path) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text(
        '[[allow]]\nname = "own"\ncommand = "frobnicate *"\npath = "src/**"\n'
        '[[deny]]\nname = "never"\ncommand = "frobnicate --all"\n'
    )
    rules.chmod(0o600)
    allowed, denied, other = answers(
        {"id": 1, "tool": "shell", "arguments": {"command": "frobnicate x"}},
        {"id": 2, "tool": "shell", "arguments": {"command": "frobnicate --all x"}},
        {"id": 3, "tool": "shell", "arguments": {"command": "frobnicate x; defrobnicate x"}},
        policy=rules,
    )
    assert (allowed["lane"], allowed["rules"]) == ("green", ["user:own"])
    assert "src/**" in allowed["reasons"][0]
    assert (denied["lane"], denied["rules"]) == ("forbidden", ["user:never"])
    assert (other["lane"], other["rules"]) == ("red", ["effect-unknown"])


def test_what_a_verdict_says_nothing_of_is_left_out() -> None:
    (plain,) = answers({"id": 1, "tool": "shell", "arguments": {"command": "ls"}})
    assert set(plain) == {"id", "lane", "risk", "rules", "reasons"}


@pytest.mark.parametrize("command", [
    ["git", "push", "origin", "main"], ["ls -l | wc -l"], ["cat .env"], ["x" * 3000],
    ["frobnicate \x1b[31m \u202e"], ["write_file"],
])  # fmt: skip
def test_an_explanation_fits_80_columns_and_shows_nothing_that_acts(command: list[str]) -> None:
    result = CliRunner().invoke(check, ["--explain", "--", *command])
    assert result.exit_code == 0, result.exception
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    for label in ("verdict", "risk", "why", "rules", "may change", "may reach", "may read"):
        assert f"  {label}" in result.stdout


def test_an_explanation_without_a_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(check, ["--explain"]).exit_code == 2
    assert CliRunner().invoke(check, ["--", "ls"]).exit_code == 2
