"""`luminaguard check`: JSON Lines in, verdicts out, whatever comes in."""

import json
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.cli.check import check


def answers(*lines: bytes | dict[str, Any]) -> list[dict[str, Any]]:
    sent = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    result = CliRunner().invoke(check, input=sent)
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
