"""What is recorded: the kinds of records, a record's fields, and what queries can find it by."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from luminaguard.domain.calls import JsonValue

JsonObject = Mapping[str, JsonValue]


class RecordKind(StrEnum):
    """What a record tells. Intents come before their effect, and each waits for its close."""

    LOG_CREATED = "log.created"
    LOG_PRUNED = "log.pruned"
    """Old records are about to be taken out, into an export that it names."""
    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"
    CALL_PROPOSED = "call.proposed"
    """Intent: a call, its verdict. Closed by `call.outcome`."""
    CALL_REHEARSED = "call.rehearsed"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_DECIDED = "approval.decided"
    """Consumes the request's nonce."""
    COMMIT_STARTED = "commit.started"
    """Intent: these changes are about to reach the workspace. Closed by `commit.finished`."""
    COMMIT_FINISHED = "commit.finished"
    CALL_OUTCOME = "call.outcome"
    MODEL_REPLIED = "model.replied"
    """A model answered: which one, and what that cost."""
    RESULT_READ = "result.read"
    """A model read on in a result that it had been given."""
    INTENT_UNKNOWN = "intent.unknown"
    """The process that held an intent is gone, and nothing is known of its end."""
    INTENT_RECOVERED = "intent.recovered"
    """The process is gone; recovery found out how it ended."""


CLOSES: Mapping[RecordKind, RecordKind] = {
    RecordKind.CALL_OUTCOME: RecordKind.CALL_PROPOSED,
    RecordKind.COMMIT_FINISHED: RecordKind.COMMIT_STARTED,
}
"""Kind → the intent that it ends, of the same session and call."""

INTENTS = frozenset(CLOSES.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a caller wants recorded."""

    kind: RecordKind
    body: JsonObject
    session_id: str
    call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry of the log as it was written."""

    seq: int
    """From 1, without gaps."""
    time: str
    """UTC, ISO 8601 with microseconds: `2026-01-31T12:00:00.000000Z`. Sorts as text."""
    kind: str
    session_id: str
    call_id: str | None
    body: JsonObject
    prev: str
    """Hash of the record before; 64 zeros for the first."""
    hash: str

    def as_json(self) -> dict[str, JsonValue]:
        """Return all fields, as `audit show --json` and exports have them."""
        return {
            "seq": self.seq,
            "time": self.time,
            "kind": self.kind,
            "session_id": self.session_id,
            "call_id": self.call_id,
            "body": self.body,
            "prev": self.prev,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What queries find a record by, taken out of its body."""

    tool: str | None = None
    lane: str | None = None
    risk: str | None = None
    decision: str | None = None
    rules: tuple[str, ...] = ()


def facts_of(body: JsonObject) -> Facts:
    """Find tool, lane, risk, decision and rules where bodies have them.

    Looked for are `call.tool`, `verdict{lane,risk,rules}` and `decision.end`, then the same names
    at the top of the body.
    """
    verdict, decision = object_at(body, "verdict"), object_at(body, "decision")
    rules = verdict.get("rules", body.get("rules"))
    return Facts(
        tool=_text(object_at(body, "call"), "tool") or _text(body, "tool"),
        lane=_text(verdict, "lane") or _text(body, "lane"),
        risk=_text(body, "risk") or _text(verdict, "risk"),
        decision=_text(decision, "end") or _text(body, "end"),
        rules=tuple(sorted({rule for rule in rules if isinstance(rule, str)}))
        if isinstance(rules, list)
        else (),
    )


def object_at(body: JsonObject, name: str) -> JsonObject:
    """Return an object in a record's body; empty where there is none."""
    value = body.get(name)
    return cast("JsonObject", value) if isinstance(value, Mapping) else {}


def _text(body: JsonObject, name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) else None
