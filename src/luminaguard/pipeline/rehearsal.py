"""A call that has run in the session's micro-VM, and what it measurably did."""

from collections.abc import Mapping
from dataclasses import dataclass

from luminaguard.domain.changeset import Changeset
from luminaguard.domain.execution import GuestReport
from luminaguard.domain.isolation import Isolation
from luminaguard.domain.verdict import Lane, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Measured on the host, except for `report`, which is the guest's word."""

    report: GuestReport
    changeset: Changeset
    isolation: Isolation
    spawn_ms: float
    timings_ms: Mapping[str, float]
    """Phase → milliseconds: restore_ms, image_ms, disk_ms, reseed_ms, mount_ms, exec_ms, ..."""


def needs_no_approval(verdict: Verdict, rehearsal: Rehearsal, *, no_effect_rule: bool) -> bool:
    """Say whether the measured effect leaves nothing to ask about.

    A green call that changed something is asked about like a red one. A red call is released only
    by the rule `no-effect`: no change outside scratch, no process left behind, and no other reason
    for red than that its effect was unknown.
    """
    if not rehearsal.changeset.is_empty or rehearsal.changeset.dropped:
        return False
    if verdict.lane is Lane.GREEN:
        return True
    return no_effect_rule and verdict.only_effect_unknown and not rehearsal.report.leftover
