"""The story of a session: told by the loop, or read from the records of another process."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from luminaguard.approval.look import Look
from luminaguard.approval.rows import lay_out
from luminaguard.audit.log import AuditLog
from luminaguard.audit.records import RecordKind
from luminaguard.domain.approval import Decision, End
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.llm.model import Reply
from luminaguard.tui.records import RecordTrail
from luminaguard.tui.trail import KEPT, Trail, rows_of

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
CALL = ToolCall(call_id="c", tool="shell", arguments={"command": "make \x1b[2J"})
VERDICT = Verdict(lane=Lane.RED, risk=Risk.LOW, rules=("r",), reasons=("because",))


@pytest.fixture
def trail() -> Trail:
    return Trail(lambda: NOON)


def text_of(trail: Trail) -> str:
    return "\n".join(lay_out(rows_of(trail, Look()), Look(columns=200)))


def outcome(kind: OutcomeKind, end: End | None = None, error: str = "") -> Outcome:
    decision = None
    if end is not None:
        decision = Decision(end=end, request_digest="", approver="t", reason="so", at=NOON)
    report = GuestReport(ended=Ended.EXITED, exit_code=3, duration_s=1.5)
    return Outcome(
        call=CALL, kind=kind, verdict=VERDICT, decision=decision, report=report, error=error
    )


def test_words_and_calls_are_told_without_their_control_characters(trail: Trail) -> None:
    trail.said(Reply(text="I will\x1b]0;lie\x07"))
    trail.calling(CALL)
    told = text_of(trail)
    assert "agent says: I will" in told
    assert "-> shell" in told
    assert "\x1b" not in told
    assert trail.doing == "shell is rehearsed"


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (outcome(OutcomeKind.EXECUTED), "ok: exit code 3 (the guest says), no effect, 1.5 s"),
        (outcome(OutcomeKind.DISCARDED, End.REJECTED), "discarded (rejected: so)"),
        (outcome(OutcomeKind.DENIED), "denied by policy: because"),
        (outcome(OutcomeKind.FAILED, error="no machine"), "failed: no machine"),
    ],
)
def test_each_end_is_told(trail: Trail, ended: Outcome, words: str) -> None:
    trail.ended(ended)
    assert words in text_of(trail)


def test_lines_that_are_no_longer_kept_are_counted(trail: Trail) -> None:
    for number in range(KEPT + 7):
        trail.notice(f"line {number}")
    assert "7 earlier lines are not kept here" in text_of(trail)


def test_records_of_other_processes_are_told_once(trail: Trail, tmp_path: Path) -> None:
    records = RecordTrail(tmp_path, trail)
    assert records.read() == []
    log = AuditLog.open(tmp_path)
    call = {"tool": "shell", "arguments": {"command": "make"}, "digest": "d"}
    log.append(RecordKind.CALL_PROPOSED, {"call": call}, session_id="session-abcd", call_id="1")
    log.append(
        RecordKind.CALL_OUTCOME,
        {"tool": "shell", "outcome": "discarded", "decision": {"end": "rejected"}, "error": ""},
        session_id="session-abcd",
        call_id="1",
    )
    log.close()
    records.add(records.read())
    assert records.read() == []
    told = text_of(trail)
    assert "abcd -> shell make" in told
    assert "shell discarded (rejected)" in told
