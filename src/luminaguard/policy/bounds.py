"""How far a standing yes goes: which measured effects may pass without a question."""

from collections import Counter
from dataclasses import dataclass

from luminaguard.domain.changeset import ChangeKind, Changeset
from luminaguard.domain.verdict import Risk
from luminaguard.policy.findings import shown
from luminaguard.policy.measured import risk_of
from luminaguard.policy.patterns import PathPattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a rule or grant lets through of a measured effect."""

    paths: tuple[PathPattern, ...] = ()
    """Every change must be covered by one; empty: changes anywhere in the workspace."""
    kinds: frozenset[ChangeKind] = frozenset(ChangeKind)
    max_changes: int | None = None
    """Number of changed paths per call; None: any number."""

    def breach(self, changeset: Changeset) -> str:
        """Return why the effect goes further than this, for people; empty if it does not."""
        changes = changeset.changes
        if self.max_changes is not None and len(changes) > self.max_changes:
            return f"it changes {len(changes)} paths, more than {self.max_changes}"
        for change in changes:
            if change.kind not in self.kinds:
                return f"{shown(change.path)} is a change of kind {change.kind.value}"
            if self.paths and not any(pattern.covers(change.path) for pattern in self.paths):
                return f"it changes {shown(change.path)}, which lies outside"
        return ""


def never_unasked(changeset: Changeset) -> str:
    """Return why a human must see this effect whatever rule or grant there is; empty if not.

    That is: what runs later or points outside, everything else that counts as critical, and what
    was dropped and so cannot be committed faithfully.
    """
    if changeset.dropped:
        return f"{shown(changeset.dropped[0])} cannot be carried over"
    marks = Counter(mark.name for change in changeset.changes for mark in change.marks)
    stopping = sorted(set(marks) - _HARMLESS_MARKS)
    if stopping:
        return f"a change is marked {stopping[0]}"
    if risk_of(changeset) is Risk.CRITICAL:
        return "its measured risk is critical"
    return ""


_HARMLESS_MARKS = frozenset({"git-internal"})
"""Git's own bookkeeping; any other mark, also one that is not known here, wants a human."""
