"""The loop passes every call through the guard, and tells the model only what it may know."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from luminaguard.agent.limits import Limits
from luminaguard.agent.loop import Agent, Run, Stop
from luminaguard.agent.transcript import Transcript
from luminaguard.domain.approval import Decision, End
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Change, ChangeKind, Changeset, Entry, EntryType
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.llm.scripted import ScriptedModel, Turn
from luminaguard.tools.toolbox import Toolbox, agent_tools

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RED = Verdict(lane=Lane.RED, risk=Risk.HIGH, rules=("r",), reasons=("why",))
CHANGES = Changeset(
    base="b",
    changes=(
        Change(
            path="secret-name",
            kind=ChangeKind.CREATE,
            before=None,
            after=Entry(type=EntryType.FILE, mode=0o644, size=1, sha256="0" * 64),
        ),
    ),
)


def outcome(call: ToolCall, kind: OutcomeKind, end: End | None = None, out: bytes = b"") -> Outcome:
    seen = kind in {OutcomeKind.EXECUTED, OutcomeKind.COMMITTED}
    report = GuestReport(ended=Ended.EXITED, exit_code=3, stdout=out)
    decision = (
        Decision(end=end, request_digest="", approver="t", reason="not today", at=NOW)
        if end
        else None
    )
    return Outcome(
        call=call,
        kind=kind,
        verdict=RED,
        decision=decision,
        report=report if seen else None,
        changeset=CHANGES,
        error="it broke." if kind in {OutcomeKind.FAILED, OutcomeKind.UNKNOWN} else "",
    )


class Script:
    """A guard that ends calls as told, and an observer that notes what it sees."""

    def __init__(self, *ends: tuple[OutcomeKind, End | None], out: bytes = b"hello") -> None:
        self.ends = list(ends)
        self.out = out
        self.seen: list[str] = []

    async def handle(self, call: ToolCall) -> Outcome:
        kind, end = self.ends.pop(0)
        return outcome(call, kind, end, self.out)

    def said(self, text: str) -> None:
        self.seen.append(f"said {text}")

    def calling(self, call: ToolCall) -> None:
        self.seen.append(f"calling {call.tool}")

    def ended(self, outcome: Outcome) -> None:
        self.seen.append(f"ended {outcome.kind}")


async def run_agent(
    tmp_path: Path,
    turns: Sequence[Turn],
    script: Script,
    limits: Limits | None = None,
    ticks: Sequence[float] = (),
) -> Run:
    times = iter(ticks)
    transcript = Transcript(tmp_path / "t.jsonl", lambda: NOW)
    agent = Agent(
        model=ScriptedModel(turns),
        guard=script,
        tools=Toolbox(agent_tools()).specs,
        transcript=transcript,
        observer=script,
        seconds=lambda: next(times, 0.0),
        limits=limits or Limits(),
    )
    try:
        return await agent.run("task", "/ws")
    finally:
        transcript.close()


LS = Turn(say="look", calls=(("shell", {"command": "ls"}),))
END = Turn(say="done")


def told(tmp_path: Path) -> list[str]:
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    return [line["text"] for line in lines if line["role"] == "tool"]


async def test_a_run_ends_when_the_model_calls_nothing_more(tmp_path: Path) -> None:
    script = Script((OutcomeKind.EXECUTED, None))
    run = await run_agent(tmp_path, [LS, END], script)
    assert (run.stop, run.answer, len(run.outcomes)) == (Stop.FINISHED, "done", 1)
    assert script.seen == ["said look", "calling shell", "ended executed", "said done"]
    assert told(tmp_path) == ["exit code 3\n--- stdout\nhello"]


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(
    ("kind", "end", "expected"),
    [
        (OutcomeKind.DISCARDED, End.REJECTED, "not approved (rejected): not today"),
        (OutcomeKind.DISCARDED, End.EXPIRED, "not approved (expired)"),
        (OutcomeKind.DENIED, None, "denied by policy: why"),
        (OutcomeKind.FAILED, None, "failed: it broke."),
    ],
)
async def test_an_unapproved_call_tells_the_model_its_end_and_nothing_of_its_effect(
    tmp_path: Path, kind: OutcomeKind, end: End | None, expected: str
) -> None:
    script = Script((kind, end), out=b"PRIVATE OUTPUT")
    await run_agent(tmp_path, [LS, END], script)
    (text,) = told(tmp_path)
    assert text.startswith(expected)
    assert "PRIVATE" not in text
    assert "secret-name" not in text


async def test_long_output_is_cut_with_a_counter(tmp_path: Path) -> None:
    script = Script((OutcomeKind.EXECUTED, None), out=b"x" * 100)
    await run_agent(tmp_path, [LS, END], script, Limits(result_chars=30))
    assert "x" * 30 + "\n[70 further characters" in told(tmp_path)[0]


@pytest.mark.parametrize(
    ("limits", "ends", "ticks", "stop"),
    [
        (Limits(steps=2), [(OutcomeKind.EXECUTED, None)] * 9, (), Stop.STEPS),
        (Limits(seconds=5), [(OutcomeKind.EXECUTED, None)] * 9, (0, 1, 9), Stop.SECONDS),
        (Limits(denials_in_row=2), [(OutcomeKind.DENIED, None)] * 9, (), Stop.DENIALS),
        (Limits(), [(OutcomeKind.UNKNOWN, None)] * 9, (), Stop.UNKNOWN),
    ],
)
async def test_a_limit_stops_the_run(
    tmp_path: Path,
    limits: Limits,
    ends: list[tuple[OutcomeKind, End | None]],
    ticks: tuple[float, ...],
    stop: Stop,
) -> None:
    run = await run_agent(tmp_path, [LS] * 9, Script(*ends), limits, ticks)
    assert run.stop is stop


async def test_an_approved_call_between_refusals_starts_the_count_anew(tmp_path: Path) -> None:
    ends = [
        (OutcomeKind.DENIED, None),
        (OutcomeKind.COMMITTED, End.APPROVED),
        (OutcomeKind.DENIED, None),
    ]
    run = await run_agent(tmp_path, [LS, LS, LS, END], Script(*ends), Limits(denials_in_row=2))
    assert run.stop is Stop.FINISHED


async def test_the_transcript_is_private_and_whole(tmp_path: Path) -> None:
    await run_agent(tmp_path, [LS, END], Script((OutcomeKind.EXECUTED, None)))
    assert (tmp_path / "t.jsonl").stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    roles = [line["role"] for line in lines]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
