"""The ends of a call, one function each, so that the guard reads like the picture in the design."""

from collections.abc import Mapping
from datetime import datetime

from luminaguard.domain.approval import Decision, End
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.isolation import Isolation
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.verdict import Lane, Verdict
from luminaguard.errors import LuminaGuardError, RecoveryNeeded
from luminaguard.pipeline.rehearsal import Rehearsal

NOBODY = "nobody"
"""Named as approver where a call failed before anybody was asked."""


def denied(call: ToolCall, verdict: Verdict, rehearsal: Rehearsal | None = None) -> Outcome:
    """The policy forbids it: it never ran, or not beyond a machine that is destroyed."""
    return _of(rehearsal, call, verdict, OutcomeKind.DENIED, None, visible=False)


def executed(
    call: ToolCall, verdict: Verdict, rehearsal: Rehearsal, decision: Decision | None = None
) -> Outcome:
    """It ran without an effect on the workspace, and its output may be seen."""
    return _of(rehearsal, call, verdict, OutcomeKind.EXECUTED, decision, visible=True)


def committed(
    call: ToolCall, verdict: Verdict, rehearsal: Rehearsal, decision: Decision
) -> Outcome:
    """Its approved effect is on the host."""
    return _of(rehearsal, call, verdict, OutcomeKind.COMMITTED, decision, visible=True)


def discarded(
    call: ToolCall, verdict: Verdict, rehearsal: Rehearsal, decision: Decision
) -> Outcome:
    """It was not approved: its output is shown to nobody but the approver."""
    return _of(rehearsal, call, verdict, OutcomeKind.DISCARDED, decision, visible=False)


def timed_out(
    call: ToolCall, verdict: Verdict, rehearsal: Rehearsal, limit_s: float, at: datetime
) -> Outcome:
    """It ran too long and was killed; its output is shown only if it had no effect."""
    harmless = rehearsal.changeset.is_empty and not _asks_for_release(verdict)
    message = f"the command did not end within {limit_s:g} s and was killed."
    return _of(
        rehearsal,
        call,
        verdict,
        OutcomeKind.FAILED,
        _failed_decision(verdict, message, at),
        visible=harmless,
        error=message,
        error_code="timeout",
    )


def failed(
    call: ToolCall,
    verdict: Verdict,
    error: LuminaGuardError,
    at: datetime,
    *,
    rehearsal: Rehearsal | None = None,
    decision: Decision | None = None,
) -> Outcome:
    """It could not be done; nothing reached the host, or (`UNKNOWN`) that must be found out."""
    unknown = isinstance(error, RecoveryNeeded) and decision is not None
    kind = OutcomeKind.UNKNOWN if unknown else OutcomeKind.FAILED
    ended = decision or _failed_decision(verdict, str(error), at)
    message = f"{error} ({error.hint})" if error.hint else str(error)
    return _of(
        rehearsal, call, verdict, kind, ended, visible=False, error=message, error_code=error.code
    )


def _asks_for_release(verdict: Verdict) -> bool:
    """True for a call that is red for what it reads, not for what it may do."""
    return verdict.lane is not Lane.GREEN and not verdict.only_effect_unknown


def _failed_decision(verdict: Verdict, reason: str, at: datetime) -> Decision | None:
    """Return the end of a red call that nobody could be asked about."""
    if verdict.lane is Lane.GREEN:
        return None
    return Decision(end=End.FAILED, request_digest="", approver=NOBODY, reason=reason, at=at)


def _of(
    rehearsal: Rehearsal | None,
    call: ToolCall,
    verdict: Verdict,
    kind: OutcomeKind,
    decision: Decision | None,
    *,
    visible: bool,
    error: str = "",
    error_code: str = "",
) -> Outcome:
    report: GuestReport | None = None
    changeset: Changeset | None = None
    isolation: Isolation | None = None
    timings: Mapping[str, float] = {}
    if rehearsal is not None:
        report = rehearsal.report if visible else None
        changeset = rehearsal.changeset
        isolation = rehearsal.isolation
        timings = rehearsal.timings_ms
    return Outcome(
        call=call,
        kind=kind,
        verdict=verdict,
        decision=decision,
        report=report,
        changeset=changeset,
        isolation=isolation,
        spawn_ms=rehearsal.spawn_ms if rehearsal else None,
        timings_ms=timings,
        error=error,
        error_code=error_code,
    )


def was_cut_short(rehearsal: Rehearsal) -> bool:
    """True when the command was killed for running too long."""
    return rehearsal.report.ended is Ended.TIMED_OUT
