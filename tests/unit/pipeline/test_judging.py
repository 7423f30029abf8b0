"""The policy as one session meets it: what it has seen counts, and what changed meanwhile too."""

from dataclasses import replace
from pathlib import Path

import pytest

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.errors import ChangesetConflict
from luminaguard.pipeline.judging import Judging
from luminaguard.policy.context import CallContext
from luminaguard.policy.rules.files import RuleFiles
from luminaguard.policy.source import PolicySource
from luminaguard.policy.taint import TAINTED, Taint

pytestmark = pytest.mark.anyio

SEND = ToolCall(call_id="c", tool="shell", arguments={"command": "curl http://x.example"})
REPORT = GuestReport(ended=Ended.EXITED, exit_code=0)


def judging(user: Path | None = None) -> Judging:
    source = PolicySource(files=RuleFiles(user=user))
    return Judging(source=source, context=CallContext(workspace="/w"), policy=source.opened())


def read(tool: str, path: str, report: GuestReport | None) -> Outcome:
    verdict = Verdict(lane=Lane.GREEN, risk=Risk.LOW, rules=("pure-read",), reasons=("",))
    call = ToolCall(call_id="c", tool=tool, arguments={"path": path})
    return Outcome(call=call, kind=OutcomeKind.EXECUTED, verdict=verdict, report=report)


def outcome(report: GuestReport | None) -> Outcome:
    verdict = Verdict(
        lane=Lane.RED, risk=Risk.HIGH, rules=("reads-secret",), reasons=("",), secrets=(".env",)
    )
    call = ToolCall(call_id="c", tool="shell", arguments={"command": "cat .env"})
    return Outcome(call=call, kind=OutcomeKind.EXECUTED, verdict=verdict, report=report)


@pytest.mark.guarantee("G5")
async def test_what_the_model_has_seen_taints_what_follows() -> None:
    held = judging()
    held.context = replace(held.context, taint=Taint(untrusted=("web",)))
    assert TAINTED not in (await held.judge(SEND)).rules
    held.saw(outcome(None))
    assert TAINTED not in (await held.judge(SEND)).rules, "an output that nobody saw taints nothing"
    held.saw(outcome(REPORT))
    verdict = await held.judge(SEND)
    assert TAINTED in verdict.rules
    assert verdict.risk is Risk.CRITICAL
    assert ".env" in " ".join(verdict.reasons)


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("tool", ["read_file", "list_files", "search_files"])
@pytest.mark.parametrize(
    "path", ["/root/notes.txt", "/home/u/notes", "../root/x", ".env", "k/id_rsa"]
)
async def test_files_that_are_private_taint_what_follows(tool: str, path: str) -> None:
    held = judging()
    held.context = replace(held.context, taint=Taint(untrusted=("web",)))
    held.saw(read(tool, path, None))
    assert TAINTED not in (await held.judge(SEND)).rules, "an output that nobody saw taints nothing"
    held.saw(read(tool, path, REPORT))
    assert TAINTED in (await held.judge(SEND)).rules


@pytest.mark.parametrize("tool", ["read_file", "list_files", "search_files", "write_file"])
@pytest.mark.parametrize("path", ["src/main.py", "/w/a", "/usr/share/doc/x", "."])
async def test_files_of_the_project_are_not_private(tool: str, path: str) -> None:
    held = judging()
    held.saw(read(tool, path, REPORT))
    assert held.context.taint == Taint()


async def test_what_a_command_reached_is_text_of_others() -> None:
    held = judging()
    verdict = await held.judge(SEND)
    held.saw(Outcome(call=SEND, kind=OutcomeKind.EXECUTED, verdict=verdict, report=REPORT))
    assert "x.example" in held.context.taint.untrusted


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("text", ["# another comment\n", '[[deny]]\nname="d"\ncommand="x"\n', "["])
async def test_rules_that_changed_since_the_verdict_are_a_conflict(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("")
    path.chmod(0o600)
    held = judging(path)
    await held.judge(SEND)
    await held.confirm(SEND)
    path.write_text(text)
    with pytest.raises(ChangesetConflict):
        await held.confirm(SEND)
    await held.judge(SEND)
    await held.confirm(SEND)
