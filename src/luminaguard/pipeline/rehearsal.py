"""A call that has run in the session's micro-VM, and what it measurably did."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from luminaguard.domain.changeset import Changeset
from luminaguard.domain.execution import GuestReport
from luminaguard.domain.isolation import Isolation
from luminaguard.domain.verdict import Lane, Verdict

NO_EFFECT = "no-effect"
"""The built-in rule that releases a call whose effect was unknown and turned out to be none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Measured on the host, except for `report`, which is the guest's word."""

    report: GuestReport
    changeset: Changeset
    isolation: Isolation
    spawn_ms: float
    timings_ms: Mapping[str, float]
    """Phase → milliseconds."""


def released(verdict: Verdict, rehearsal: Rehearsal, *, no_effect_rule: bool) -> Verdict | None:
    """Return the verdict under which nothing need be asked, or None if something must be.

    A green call that changed something is asked about like a red one. A red call is released only
    by the rule `no-effect`, which is then named in the verdict: no change outside scratch, no
    process left behind, and no other reason for red than that its effect was unknown.
    """
    if not rehearsal.changeset.is_empty or rehearsal.changeset.dropped:
        return None
    if verdict.lane is Lane.GREEN:
        return verdict
    if no_effect_rule and verdict.only_effect_unknown and not rehearsal.report.leftover:
        return replace(verdict, rules=(*verdict.rules, NO_EFFECT))
    return None
