"""How a call ended: the one value that `exec`, the agent loop and every API hand out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from luminaguard.domain.approval import Decision
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.execution import GuestReport
from luminaguard.domain.isolation import Isolation
from luminaguard.domain.verdict import Verdict


class OutcomeKind(StrEnum):
    """What became of a call."""

    EXECUTED = "executed"
    """It ran and had no effect that needed approval."""
    COMMITTED = "committed"
    """Its approved effect is on the host, byte for byte."""
    DISCARDED = "discarded"
    """It was rehearsed and not approved; its machine is destroyed."""
    DENIED = "denied"
    """The policy forbids it; it never ran."""
    FAILED = "failed"
    """It could not be done, or not to the end; nothing reached the host."""
    UNKNOWN = "unknown"
    """Whether its effect reached the host must be settled by `luminaguard recover`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRef:
    """Where a record stands in the audit log."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that is known about a finished call.

    `report` is None where it may not be seen: an unapproved red call shows its output to nobody but
    the approver. `changeset` says what would have changed (paths, kinds, hashes, never bytes), for
    the user and the record; a model is told neither.
    """

    call: ToolCall
    kind: OutcomeKind
    verdict: Verdict
    decision: Decision | None = None
    report: GuestReport | None = None
    changeset: Changeset | None = None
    isolation: Isolation | None = None
    spawn_ms: float | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict[str, float])
    error: str = ""
    """Why it failed, for people; empty otherwise."""
    error_code: str = ""
    """The failing error's `code`, or "timeout"; empty otherwise."""
    audit: AuditRef | None = None


def vm_json(outcome: Outcome) -> dict[str, JsonValue] | None:
    """Return the `vm{…}` object of an outcome, None when no machine was involved."""
    if outcome.isolation is None:
        return None
    return {**outcome.isolation.as_json(), "spawn_ms": outcome.spawn_ms}
