"""How approvals go, by the record: how often people are asked, how they answer, how fast."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from luminaguard.audit.costs import Spent, by_model, spent
from luminaguard.audit.records import Record, RecordKind, object_at
from luminaguard.domain.calls import JsonValue

KINDS = (
    RecordKind.SESSION_STARTED,
    RecordKind.CALL_PROPOSED,
    RecordKind.APPROVAL_REQUESTED,
    RecordKind.APPROVAL_DECIDED,
    RecordKind.CALL_OUTCOME,
    RecordKind.MODEL_REPLIED,
)
"""The records that statistics are made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts over some records."""

    sessions: int
    calls: int
    asked: int
    """Cards that somebody, or a rule in their place, was asked to decide on."""
    ends: Mapping[str, int]
    """approved, rejected, expired, failed → how many."""
    approvers: Mapping[str, int]
    outcomes: Mapping[str, int]
    asked_by_risk: Mapping[str, int]
    asked_by_rule: Mapping[str, int]
    seconds: tuple[float, ...] = ()
    """From each card to its answer by a human, sorted."""
    spent: tuple[Spent, ...] = ()

    @property
    def prompts_per_session(self) -> float | None:
        """How often a session asks, on average; None without sessions."""
        return self.asked / self.sessions if self.sessions else None

    @property
    def approval_rate(self) -> float | None:
        """Approved of all that ended; None when nothing did."""
        total = sum(self.ends.values())
        return self.ends.get("approved", 0) / total if total else None

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form of `audit stats --json`; times in seconds, money as text."""
        return {
            "sessions": self.sessions,
            "calls": self.calls,
            "asked": self.asked,
            "prompts_per_session": self.prompts_per_session,
            "approval_rate": self.approval_rate,
            "ends": dict(self.ends),
            "approvers": dict(self.approvers),
            "outcomes": dict(self.outcomes),
            "asked_by_risk": dict(self.asked_by_risk),
            "asked_by_rule": dict(self.asked_by_rule),
            "seconds_per_answer": {
                "count": len(self.seconds),
                "median": statistics.median(self.seconds) if self.seconds else None,
                "p95": self.seconds[int(len(self.seconds) * 0.95)] if self.seconds else None,
                "under_two_seconds": sum(taken < 2 for taken in self.seconds),
            },
            "models": [
                {
                    "model": used.model,
                    "replies": used.replies,
                    "input_tokens": used.input_tokens,
                    "output_tokens": used.output_tokens,
                    "cost_usd": None if used.cost_usd is None else str(used.cost_usd),
                }
                for used in by_model(self.spent)
            ],
        }


NO_HUMANS = frozenset(("all", "deny", "rule", "grant"))
"""Approvers whose speed says nothing about people."""


@dataclass(slots=True)
class _Count:
    sessions: int = 0
    calls: int = 0
    asked: int = 0
    ends: Counter[str] = field(default_factory=Counter[str])
    approvers: Counter[str] = field(default_factory=Counter[str])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    risks: Counter[str] = field(default_factory=Counter[str])
    rules: Counter[str] = field(default_factory=Counter[str])
    asked_at: dict[tuple[str, str | None], datetime] = field(
        default_factory=dict[tuple[str, str | None], datetime]
    )
    seconds: list[float] = field(default_factory=list[float])
    replies: list[Record] = field(default_factory=list[Record])

    def add(self, record: Record) -> None:
        match record.kind:
            case RecordKind.SESSION_STARTED:
                self.sessions += 1
            case RecordKind.CALL_PROPOSED:
                self.calls += 1
            case RecordKind.APPROVAL_REQUESTED:
                self._asked(record)
            case RecordKind.APPROVAL_DECIDED:
                self._decided(record)
            case RecordKind.CALL_OUTCOME:
                self.outcomes[str(record.body.get("outcome"))] += 1
            case _:
                self.replies.append(record)

    def _asked(self, record: Record) -> None:
        self.asked += 1
        self.asked_at[record.session_id, record.call_id] = datetime.fromisoformat(record.time)
        self.risks[str(record.body.get("risk"))] += 1
        verdict = object_at(object_at(record.body, "card"), "verdict")
        rules = verdict.get("rules")
        for rule in rules if isinstance(rules, list) else []:
            self.rules[str(rule)] += 1

    def _decided(self, record: Record) -> None:
        decision = object_at(record.body, "decision")
        end, approver = str(decision.get("end")), str(decision.get("approver"))
        self.ends[end] += 1
        self.approvers[approver] += 1
        asked_at = self.asked_at.pop((record.session_id, record.call_id), None)
        if asked_at and approver not in NO_HUMANS and end in {"approved", "rejected"}:
            taken = datetime.fromisoformat(record.time) - asked_at
            self.seconds.append(taken.total_seconds())


def stats_of(records: Iterable[Record]) -> Stats:
    """Count records, oldest first; kinds that are not in KINDS do not matter."""
    count = _Count()
    for record in records:
        if record.kind in KINDS:
            count.add(record)
    return Stats(
        sessions=count.sessions,
        calls=count.calls,
        asked=count.asked,
        ends=count.ends,
        approvers=count.approvers,
        outcomes=count.outcomes,
        asked_by_risk=count.risks,
        asked_by_rule=dict(count.rules.most_common()),
        seconds=tuple(sorted(count.seconds)),
        spent=tuple(spent(count.replies)),
    )
