"""The Diff Card as text for a plain terminal: a first look, and everything.

The first look leaves out what is long, and says of every part how much it left out; `full` leaves
out nothing. Measured, predicted and merely reported content stand behind different edges, whatever
the colors.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from luminaguard.approval.card import DiffCard
from luminaguard.approval.changes import change_rows, heading_row
from luminaguard.approval.facts import effect_rows, fact_rows, title_row
from luminaguard.approval.look import RULES, Look, Style
from luminaguard.approval.rows import Row, excerpt, lay_out
from luminaguard.approval.said import predicted_rows, said_rows
from luminaguard.domain.changeset import ChangeKind

HEAD_LINES = 60
"""Screen lines of the call and the facts in the first look."""
CHANGE_LINES = 40
"""Screen lines of one change in the first look."""
LOST_LINES = 14
"""Screen lines of a deleted file in the first look."""
BODY_LINES = 240
"""Screen lines of all changes in the first look, headings aside."""
HEADINGS = 100
"""Changes that are at least named in the first look."""
SAID_LINES = 30
"""Screen lines of what the guest says in the first look."""

_BLANK = Row((), edge=())


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """What is shown before anybody asks for more."""

    lines: tuple[str, ...]
    is_cut: bool
    """Something of the call or its effect was left out, and counted."""


def full(card: DiffCard, look: Look) -> Iterator[str]:
    """Yield all screen lines of a card, nothing left out; lazily, as there may be many."""
    yield from lay_out(_head(card, look, everything=True), look)
    for number, (change, diff) in enumerate(card.sections(), 1):
        heading = heading_row(change, diff, _number(card, number), look)
        yield from lay_out(chain((_BLANK, heading), change_rows(change, diff, look)), look)
    yield from lay_out(predicted_rows(card, look), look)
    yield from lay_out(said_rows(card, look, everything=True), look)
    yield from lay_out((_end_row(card, look),), look)


def first_look(card: DiffCard, look: Look) -> FirstLook:
    """Return a card of bounded length: each part from its beginning, the rest counted."""
    page = _Page(look)
    page.add(_head(card, look, everything=False), HEAD_LINES)
    room = BODY_LINES
    for number, (change, diff) in enumerate(card.sections(), 1):
        if number > HEADINGS:
            page.tell(f"{card.summary.total - HEADINGS:,} more changes")
            break
        page.add((_BLANK, heading_row(change, diff, _number(card, number), look)), CHANGE_LINES)
        most = LOST_LINES if change.kind is ChangeKind.DELETE else CHANGE_LINES
        room -= page.add(change_rows(change, diff, look), min(most, max(room, 1)))
    page.add(predicted_rows(card, look), CHANGE_LINES)
    page.add(said_rows(card, look, everything=False), SAID_LINES)
    page.add((_end_row(card, look),), 1)
    return FirstLook(lines=tuple(page.lines), is_cut=page.is_cut)


class _Page:
    """Screen lines with a counter wherever something is left out."""

    def __init__(self, look: Look) -> None:
        self.lines: list[str] = []
        self.is_cut = False
        self._look = look

    def add(self, rows: Iterable[Row], room: int) -> int:
        """Add at most `room` screen lines and a counter for the rest; return how many."""
        taken = excerpt(rows, self._look, lines=room)
        self.lines += taken.lines
        if taken.left_rows:
            self.tell(f"{taken.left_rows:,} more line{'s' if taken.left_rows > 1 else ''}")
        return len(taken.lines)

    def tell(self, left_out: str) -> None:
        """Say what is left out here."""
        self.is_cut = True
        text = f"{self._look.glyphs.more} {left_out}: press v to view all"
        self.lines += lay_out(
            (Row(((Style.YELLOW, text),), edge=((Style.PLAIN, "   "),)),), self._look
        )


def _head(card: DiffCard, look: Look, *, everything: bool) -> Iterator[Row]:
    yield title_row(card, look)
    yield _BLANK
    yield from fact_rows(card, look, everything=everything)
    yield _BLANK
    yield from effect_rows(card, look, everything=everything)


def _number(card: DiffCard, number: int) -> str:
    return f"{number}/{len(card.changeset.changes)}"


def _end_row(card: DiffCard, look: Look) -> Row:
    return Row(((RULES[card.risk], look.glyphs.heavy * look.columns),), edge=())
