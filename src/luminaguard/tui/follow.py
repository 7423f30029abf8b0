"""Keeps the board as the desks are: what is asked, withdrawn, expired, or lost with its process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from luminaguard.approval.desk.desk import UNSEEN, Desk
from luminaguard.approval.desk.refusals import DeskLost
from luminaguard.tui.board import Board, Entry
from luminaguard.tui.trail import Trail


class Watcher(Protocol):
    """Who is told of changes."""

    def changed(self) -> None:
        """Take note that the board changed."""
        ...

    def gone(self, entries: Sequence[Entry]) -> None:
        """Take note that questions are no longer on the board."""
        ...

    def tell(self, text: str) -> None:
        """Show a notice."""
        ...


@dataclass(slots=True)
class Following:
    """Follows any number of desks."""

    board: Board
    trail: Trail
    watcher: Watcher
    desks: list[Desk] = field(default_factory=list[Desk])
    """The desks that are followed."""
    _names: dict[int, str] = field(default_factory=dict[int, str])
    """By identity: desks need not be hashable."""
    answered: set[str] = field(default_factory=set[str])
    """Digests of requests that were answered here: their going is no news."""

    def add(self, desk: Desk, name: str) -> None:
        """Take a desk in; people call it by this name."""
        self.desks.append(desk)
        self._names[id(desk)] = name

    async def follow(self, desk: Desk) -> None:
        """Take over a desk's changes until its process is gone."""
        seen = UNSEEN
        try:
            while True:
                seen = await desk.wait_for_change(seen)
                self.take(desk)
        except DeskLost:
            self.desks[:] = [one for one in self.desks if one is not desk]
            name = self._names.pop(id(desk), "")
            self._drop(self._of(desk), f"gone with the process that asked {name}".rstrip())

    def take(self, desk: Desk) -> None:
        """Take over what is open on a desk."""
        pending = desk.pending()
        open_now = {one.digest for one in pending}
        gone = [entry for entry in self._of(desk) if entry.digest not in open_now]
        self._drop(gone, "no longer asked: withdrawn, expired, or decided elsewhere")
        known = {entry.digest for entry in self.board.entries}
        news = [one for one in pending if one.digest not in known | self.answered]
        if news:
            kept = {entry.digest for entry in self._of(desk)}
            self.board.update(desk, [one for one in pending if one.digest in kept or one in news])
            for one in news:
                self.trail.asked(one.card.call)
            self.watcher.changed()

    def answered_here(self, entry: Entry) -> None:
        """Take an answered question off the board."""
        self.answered.add(entry.digest)
        self._drop([entry], "")

    def expire(self, now: datetime) -> None:
        """Take questions off the board whose time is up; their desk ends them by itself."""
        self._drop(self.board.expired(now), "expired: nobody answered in time, nothing happens")

    def _of(self, desk: Desk) -> list[Entry]:
        return [entry for entry in self.board.entries if entry.desk is desk]

    def _drop(self, gone: Sequence[Entry], why: str) -> None:
        if not gone:
            return
        self.board.drop(gone)
        for entry in gone:
            if why and entry.digest not in self.answered:
                self.watcher.tell(f"{entry.pending.card.call.tool}: {why}")
            self.answered.add(entry.digest)
        self.watcher.gone(gone)
