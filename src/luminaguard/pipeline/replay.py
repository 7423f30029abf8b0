"""What a changed policy would have made of the calls in the audit log.

Records are redacted, and a call's digest is that of the whole: a call whose arguments do not give
its digest any more is said to be undecidable, not guessed at.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Record, RecordKind
from luminaguard.audit.redact import REDACTED
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.changeset import Change, ChangeKind, Changeset, Mark
from luminaguard.domain.verdict import Lane, Verdict
from luminaguard.errors import AuditError
from luminaguard.policy.grants.covers import is_asked_for
from luminaguard.policy.policy import CallContext, Policy
from luminaguard.policy.standing import StandingYes, never_stands
from luminaguard.policy.taint import TAINTED

Fields = Mapping[str, JsonValue]

RECENT_CALLS = 50


class Fate(StrEnum):
    """What becomes of a call, as far as a policy decides it."""

    UNASKED = "unasked"
    ASKED = "asked"
    DENIED = "denied"
    UNDECIDABLE = "undecidable"
    """The record does not hold what the verdict depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One call, then and under the changed policy."""

    seq: int
    """Of the record that proposed it."""
    time: str
    session_id: str
    tool: str
    call: str
    """What was called, in short."""
    was: Fate
    now: Fate
    rules: tuple[str, ...]
    """What decides now."""
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, JsonValue]:
        """Return all fields."""
        return {
            "seq": self.seq,
            "time": self.time,
            "session_id": self.session_id,
            "tool": self.tool,
            "call": self.call,
            "was": self.was.value,
            "now": self.now.value,
            "rules": list(self.rules),
            "reasons": list(self.reasons),
        }


def replay(records: Iterable[Record], policy: Policy) -> Iterator[Replayed]:
    """Yield every recorded call with both fates; `records` are of all kinds, oldest first."""
    places: dict[str, str] = {}
    calls: dict[tuple[str, str | None], dict[str, Record]] = defaultdict(dict)
    for record in records:
        if record.kind == RecordKind.SESSION_STARTED:
            places[record.session_id] = str(record.body.get("workspace", "")).partition(" ")[2]
        elif record.call_id is not None:
            calls[record.session_id, record.call_id].setdefault(record.kind, record)
    for (session_id, _), story in calls.items():
        if RecordKind.CALL_PROPOSED in story:
            yield _replayed(story, places.get(session_id, ""), policy)


def recent_calls(state_dir: Path) -> tuple[ToolCall, ...]:
    """Return calls that were proposed lately, newest first, as far as they are on record whole.

    None where the log cannot be read: they only serve as examples.
    """
    query = Query(kind=RecordKind.CALL_PROPOSED, limit=RECENT_CALLS)
    try:
        records = AuditReader(state_dir).find(query)
    except AuditError:
        return ()
    found = ((_call(record), record) for record in records)
    return tuple(call for call, record in found if _is_whole(call, record))


def _call(record: Record) -> ToolCall:
    given = _object(record.body, "call")
    return ToolCall(
        call_id=record.call_id or "",
        tool=str(given.get("tool", "")),
        arguments=_object(given, "arguments"),
    )


def _is_whole(call: ToolCall, record: Record) -> bool:
    return call.digest == _object(record.body, "call").get("digest")


def _replayed(story: Mapping[str, Record], workspace: str, policy: Policy) -> Replayed:
    record = story[RecordKind.CALL_PROPOSED]
    call = _call(record)
    was = _fate_then(story)
    now, verdict = Fate.UNDECIDABLE, None
    if _is_whole(call, record) and workspace and not _was_tainted(record):
        now, verdict = _fate_now(call, CallContext(workspace=workspace), story, policy)
    return Replayed(
        seq=record.seq,
        time=record.time,
        session_id=record.session_id,
        tool=call.tool,
        call=call_text(call),
        was=was,
        now=now,
        rules=_deciding(verdict),
        reasons=verdict.reasons if verdict else ("the record does not hold the whole call",),
    )


def call_text(call: ToolCall) -> str:
    """Return what a call is about in one line, for lists."""
    given = call.arguments
    argv = given.get("argv")
    if isinstance(argv, list):
        return " ".join(str(word) for word in argv)
    for name in ("command", "path", "code"):
        if isinstance(given.get(name), str):
            return str(given[name])
    return call.tool


def _fate_then(story: Mapping[str, Record]) -> Fate:
    lane = _object(story[RecordKind.CALL_PROPOSED].body, "verdict").get("lane")
    outcome = story.get(RecordKind.CALL_OUTCOME)
    ended = outcome.body.get("outcome") if outcome else None
    if lane == Lane.FORBIDDEN.value or ended == "denied":
        return Fate.DENIED
    if RecordKind.APPROVAL_REQUESTED in story:
        return Fate.ASKED
    if lane == Lane.GREEN.value or ended in {"executed", "committed"}:
        return Fate.UNASKED
    return Fate.ASKED


def _fate_now(
    call: ToolCall, context: CallContext, story: Mapping[str, Record], policy: Policy
) -> tuple[Fate, Verdict | None]:
    verdict = policy.judge(call, context)
    if verdict.lane is Lane.FORBIDDEN:
        return Fate.DENIED, verdict
    rehearsed = story.get(RecordKind.CALL_REHEARSED)
    if rehearsed is None:
        return (Fate.UNASKED if verdict.lane is Lane.GREEN else Fate.ASKED), verdict
    changeset = _changeset(_object(rehearsed.body, "changeset"))
    if changeset is None:
        return Fate.UNDECIDABLE, None
    verdict = policy.measured(call, context, verdict, changeset)
    if verdict.lane is Lane.FORBIDDEN:
        return Fate.DENIED, verdict
    has_effect = not changeset.is_empty or bool(changeset.dropped)
    is_free = verdict.lane is Lane.GREEN or (
        verdict.only_effect_unknown and not rehearsed.body.get("leftover")
    )
    if is_free and not has_effect:
        return Fate.UNASKED, verdict
    if isinstance(policy.standing(verdict, changeset), StandingYes):
        return Fate.UNASKED, verdict
    if _was_granted(story) and not (never_stands(verdict) or is_asked_for(verdict)):
        return Fate.UNASKED, verdict
    return Fate.ASKED, verdict


def _changeset(fields: Fields) -> Changeset | None:
    """Return the measured effect without its content; None if a path was redacted."""
    changes: list[Change] = []
    for change in cast("list[Fields]", fields.get("changes") or []):
        path = str(change.get("path", ""))
        if REDACTED in path:
            return None
        marks = cast("list[str]", change.get("marks") or [])
        changes.append(
            Change(
                path=path,
                kind=ChangeKind(str(change.get("kind"))),
                before=None,
                after=None,
                marks=tuple(Mark(name=name, why="") for name in marks),
            )
        )
    dropped = tuple(cast("list[str]", fields.get("dropped") or []))
    return Changeset(base=str(fields.get("base", "")), changes=tuple(changes), dropped=dropped)


def _was_granted(story: Mapping[str, Record]) -> bool:
    decided = story.get(RecordKind.APPROVAL_DECIDED)
    return decided is not None and _object(decided.body, "decision").get("approver") == "grant"


def _was_tainted(record: Record) -> bool:
    rules = _object(record.body, "verdict").get("rules")
    return isinstance(rules, list) and TAINTED in rules


def _deciding(verdict: Verdict | None) -> tuple[str, ...]:
    if verdict is None:
        return ()
    return (verdict.allowed_by,) if verdict.allowed_by else verdict.rules


def _object(fields: Fields, name: str) -> Fields:
    value = fields.get(name)
    return cast("Fields", value) if isinstance(value, Mapping) else {}
