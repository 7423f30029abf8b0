"""How an outcome is shown: as the one JSON object, or as text for people."""

import json
import sys

from luminaguard.approval.summary import summary_line
from luminaguard.cli.exits import FAILED, exit_code
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.outcome import Outcome, OutcomeKind, vm_json
from luminaguard.domain.visible import sanitize_output, visible
from luminaguard.errors import LuminaGuardError


def outcome_json(outcome: Outcome) -> dict[str, JsonValue]:
    """Return the public JSON form of an outcome that others script against."""
    report = outcome.report
    verdict = outcome.verdict
    return {
        "outcome": outcome.kind.value,
        "exit_code": exit_code(outcome),
        "stdout": report.stdout.decode("utf-8", "replace") if report else "",
        "stderr": report.stderr.decode("utf-8", "replace") if report else "",
        "verdict": {
            "lane": verdict.lane.value,
            "risk": verdict.risk.value,
            "rules": list(verdict.rules),
            "reasons": list(verdict.reasons),
        },
        "decision": outcome.decision.as_json() if outcome.decision else None,
        "changeset": outcome.changeset.as_json() if outcome.changeset else None,
        "vm": vm_json(outcome),
        "timings": {name: round(value, 3) for name, value in outcome.timings_ms.items()},
        "audit": (
            {"seq": outcome.audit.seq, "hash": outcome.audit.hash} if outcome.audit else None
        ),
        "error": (
            {"code": outcome.error_code, "message": outcome.error} if outcome.error else None
        ),
    }


def print_json(outcome: Outcome) -> None:
    """Print the one object, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(outcome_json(outcome), ensure_ascii=True) + "\n")
    sys.stdout.flush()


def print_failure(error: LuminaGuardError) -> None:
    """Print the one object for a call that never came to be: the same keys, all empty."""
    empty = dict.fromkeys(("verdict", "decision", "changeset", "vm", "audit"))
    failure = {"code": error.code, "message": str(error), "hint": error.hint}
    document = {
        "outcome": OutcomeKind.FAILED.value,
        "exit_code": FAILED,
        "stdout": "",
        "stderr": "",
        **empty,
        "timings": {},
        "error": failure,
    }
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def notice(text: str) -> None:
    """Tell on standard error what the user waits for."""
    sys.stderr.write(f"luminaguard: {text}\n")
    sys.stderr.flush()


def print_text(outcome: Outcome) -> None:
    """Print the guest's output as its own, and what became of the call on standard error."""
    report = outcome.report
    if report is not None:
        _pass_on(report.stdout, sys.stdout.isatty(), to_error=False)
        _pass_on(report.stderr, sys.stderr.isatty(), to_error=True)
        _tell_dropped("stdout", report.stdout_dropped_bytes)
        _tell_dropped("stderr", report.stderr_dropped_bytes)
    line = outcome_line(outcome)
    if line:
        sys.stderr.write(f"luminaguard: {line}\n")


def outcome_line(outcome: Outcome) -> str:
    """Return one sentence on what became of the call; empty where the output says it all."""
    if outcome.kind is OutcomeKind.EXECUTED:
        return ""
    if outcome.kind is OutcomeKind.COMMITTED:
        effect = summary_line(outcome.changeset) if outcome.changeset else ""
        return f"committed: {effect}{_unasked(outcome)}"
    if outcome.kind is OutcomeKind.DENIED:
        return f"denied by policy: {'; '.join(visible(r) for r in outcome.verdict.reasons)}"
    if outcome.kind is OutcomeKind.DISCARDED:
        decision = outcome.decision
        end = decision.end.value if decision else "not approved"
        reason = f" ({visible(decision.reason)})" if decision and decision.reason else ""
        effect = summary_line(outcome.changeset) if outcome.changeset else "no change"
        return f"{end}{reason}; discarded: {effect}. Nothing changed on your side."
    return f"{outcome.kind.value}: {visible(outcome.error)}"


def _unasked(outcome: Outcome) -> str:
    """Name the rule or grant that answered for the human, if one did."""
    decision = outcome.decision
    if decision is None or decision.approver not in {"rule", "grant"}:
        return ""
    return f" ({visible(decision.reason)})"


def _pass_on(content: bytes, to_terminal: bool, *, to_error: bool) -> None:
    stream = sys.stderr if to_error else sys.stdout
    if to_terminal:
        stream.write(sanitize_output(content))
    else:
        stream.buffer.write(content)
    stream.flush()


def _tell_dropped(name: str, count: int) -> None:
    if count:
        sys.stderr.write(f"luminaguard: {count} further bytes of {name} were not kept\n")
