"""What is on the screen's queue: the open questions of all desks, and which one is looked at.

No widgets and no waiting. The look stays on its question while others come and go; only when that
question is gone does it go on to a neighbor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from luminaguard.approval.desk.desk import Desk, Pending


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One open question and the desk that takes its answer."""

    pending: Pending
    desk: Desk

    @property
    def digest(self) -> str:
        """Digest of the request."""
        return self.pending.digest

    def left_s(self, now: datetime) -> float:
        """Return the seconds until the request expires; negative afterwards."""
        return (self.pending.request.expires_at - now).total_seconds()


@dataclass(slots=True)
class Board:
    """The entries of all desks, oldest first."""

    entries: list[Entry] = field(default_factory=list[Entry])
    selected: Entry | None = None

    @property
    def index(self) -> int:
        """Place of the selected entry; -1 without one."""
        return -1 if self.selected is None else self.entries.index(self.selected)

    def find(self, digest: str) -> Entry | None:
        """Return the entry of a request; None when it is not open."""
        return next((entry for entry in self.entries if entry.digest == digest), None)

    def update(self, desk: Desk, pending: Sequence[Pending]) -> tuple[Entry, ...]:
        """Take over what is open on one desk, and return the entries that are gone."""
        open_now = {one.digest: one for one in pending}
        gone = tuple(
            entry for entry in self.entries if entry.desk is desk and entry.digest not in open_now
        )
        known = {entry.digest for entry in self.entries}
        new = [Entry(one, desk) for digest, one in open_now.items() if digest not in known]
        if new:
            self.entries = sorted((*self.entries, *new), key=_age)
        self.drop(gone)
        if self.selected is None and self.entries:
            self.selected = self.entries[0]
        return gone

    def drop(self, gone: Sequence[Entry]) -> None:
        """Remove entries; the look goes on to the next one where its own is gone."""
        if not gone:
            return
        at = self.index
        lost = set(gone)
        before = sum(entry in lost for entry in self.entries[: max(0, at)])
        self.entries = [entry for entry in self.entries if entry not in lost]
        if self.selected in lost:
            at = min(at - before, len(self.entries) - 1)
            self.selected = self.entries[at] if self.entries else None

    def expired(self, now: datetime) -> tuple[Entry, ...]:
        """Return the entries whose time is up."""
        return tuple(entry for entry in self.entries if entry.left_s(now) <= 0)

    def step(self, by: int) -> None:
        """Look at another entry, `by` places on; not beyond the ends."""
        if self.entries:
            at = min(max(0, self.index + by), len(self.entries) - 1)
            self.selected = self.entries[at]


def _age(entry: Entry) -> datetime:
    return entry.pending.opened_at
