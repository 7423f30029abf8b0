"""The Diff Card as text for a plain terminal: a first look, and everything.

The first look leaves out what is long, and says of every part how much it left out; `full` leaves
out nothing. Measured, predicted and merely reported content stand behind different edges, whatever
the colors.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from luminaguard.approval.card import DiffCard
from luminaguard.approval.changes import change_rows, heading_row
from luminaguard.approval.look import Look, Style
from luminaguard.approval.outline import BLANK, Outline, Part, end_row, head_rows, part_heading
from luminaguard.approval.rows import Row, excerpt, lay_out
from luminaguard.approval.said import guest_rows, offer_rows, predicted_rows, prose_rows
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
PROSE_LINES = 10
"""Screen lines of what the model says in the first look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """What is shown before anybody asks for more."""

    lines: tuple[str, ...]
    is_cut: bool
    """Something of the call or its effect was left out, and counted."""


def full(card: DiffCard, look: Look) -> Iterator[str]:
    """Yield all screen lines of a card, nothing left out; lazily, as there may be many."""
    outline = Outline(card)
    for number in range(len(outline)):
        section = outline.section(number, look)
        if section.heading is not None:
            yield from lay_out((BLANK, section.heading), look)
        yield from lay_out(section.rows, look)


def first_look(card: DiffCard, look: Look) -> FirstLook:
    """Return a card of bounded length: each part from its beginning, the rest counted."""
    page = _Page(look)
    page.add(head_rows(card, look), HEAD_LINES)
    page.add_part(Part.PREDICTED, predicted_rows(card, look), CHANGE_LINES)
    room = BODY_LINES
    for number, (change, diff) in enumerate(card.sections(), 1):
        if number > HEADINGS:
            page.tell(f"{card.summary.total - HEADINGS:,} more changes")
            break
        counted = f"{number:,}/{len(card.changeset.changes):,}"
        page.add((BLANK, heading_row(change, diff, counted, look)), CHANGE_LINES)
        most = LOST_LINES if change.kind is ChangeKind.DELETE else CHANGE_LINES
        room -= page.add(change_rows(change, diff, look), min(most, max(room, 1)))
    page.add_part(Part.GUEST, guest_rows(card, look, everything=False), SAID_LINES)
    page.add_part(Part.PROSE, prose_rows(card, look) if card.prose else (), PROSE_LINES)
    page.add_part(Part.OFFERS, list(offer_rows(card, look)), SAID_LINES)
    page.add((end_row(card, look),), 1)
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

    def add_part(self, part: Part, rows: Sequence[Row], room: int) -> None:
        """Add a part under its heading, if there is one."""
        if rows:
            self.add((BLANK, part_heading(part, self._look)), room)
            self.add(rows, room)

    def tell(self, left_out: str) -> None:
        """Say what is left out here."""
        self.is_cut = True
        text = f"{self._look.glyphs.more} {left_out}: press v to view all"
        self.lines += lay_out(
            (Row(((Style.YELLOW, text),), edge=((Style.PLAIN, "   "),)),), self._look
        )
