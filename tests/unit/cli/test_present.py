"""What scripts and people see of an outcome."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from luminaguard.cli.exits import exit_code
from luminaguard.cli.present import outcome_json, outcome_line, print_failure, print_text
from luminaguard.domain.approval import Decision, End
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.outcome import AuditRef, Outcome, OutcomeKind
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.errors import WorkspaceRefused

KEYS = {
    "outcome",
    "exit_code",
    "stdout",
    "stderr",
    "verdict",
    "decision",
    "changeset",
    "vm",
    "timings",
    "audit",
    "error",
}
DONE = Outcome(
    call=ToolCall(call_id="c", tool="exec", arguments={"argv": ["x"]}),
    kind=OutcomeKind.EXECUTED,
    verdict=Verdict(lane=Lane.GREEN, risk=Risk.LOW, rules=("r",), reasons=("because",)),
    report=GuestReport(ended=Ended.EXITED, exit_code=3, stdout=b"out\xff", stderr=b"err"),
    changeset=Changeset(base="b"),
    audit=AuditRef(seq=7, hash="h"),
)
REJECTED = Decision(
    end=End.REJECTED,
    request_digest="",
    approver="tty",
    reason="no\x1b[31m",
    at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (DONE, 3),
        (replace(DONE, kind=OutcomeKind.COMMITTED), 3),
        (replace(DONE, kind=OutcomeKind.DISCARDED, report=None), 126),
        (replace(DONE, kind=OutcomeKind.DENIED, report=None), 126),
        (replace(DONE, kind=OutcomeKind.FAILED, error_code="timeout"), 124),
        (replace(DONE, kind=OutcomeKind.FAILED, error_code="conflict", report=None), 125),
        (replace(DONE, kind=OutcomeKind.UNKNOWN, report=None), 125),
    ],
)
def test_exit_codes_are_as_documented(outcome: Outcome, code: int) -> None:
    assert exit_code(outcome) == code
    assert outcome_json(outcome)["exit_code"] == code


def test_the_json_object_always_has_the_same_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(outcome_json(DONE)) == KEYS
    print_failure(WorkspaceRefused("no", hint="choose another"))
    failure = json.loads(capsys.readouterr().out)
    assert set(failure) == KEYS
    assert failure["error"] == {
        "code": "workspace-refused",
        "message": "no",
        "hint": "choose another",
    }


@pytest.mark.guarantee("G9")
def test_a_humans_reason_cannot_draw_on_the_terminal() -> None:
    line = outcome_line(replace(DONE, kind=OutcomeKind.DISCARDED, decision=REJECTED))
    assert line.startswith("rejected (no")
    assert "\x1b" not in line
    assert "Nothing changed on your side" in line


def test_output_to_a_pipe_is_raw(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_text(replace(DONE, report=replace(DONE.report, stdout=b"\x1b]0;title\x07\xff")))  # type: ignore[type-var]
    assert capfdbinary.readouterr().out == b"\x1b]0;title\x07\xff"


def test_what_was_not_kept_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_text(replace(DONE, report=replace(DONE.report, stdout=b"", stdout_dropped_bytes=5)))  # type: ignore[type-var]
    assert "5 further bytes of stdout were not kept" in capsys.readouterr().err
