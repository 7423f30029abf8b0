"""The parts of a card in their order, for every screen: what is asked first, then its effect.

A part has a heading and rows; the rows of a part are made when they are looked at, so a card of a
hundred thousand files costs what is seen of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from luminaguard.approval.card import DiffCard
from luminaguard.approval.changes import change_rows, heading_row
from luminaguard.approval.facts import effect_rows, everything_rows, fact_rows, title_row
from luminaguard.approval.look import RULES, Look, Style
from luminaguard.approval.rows import Row
from luminaguard.approval.said import (
    GUEST,
    OFFERS,
    PREDICTED,
    PROSE,
    guest_rows,
    offer_rows,
    predicted_rows,
    prose_rows,
)

BLANK = Row((), edge=())
EVERYTHING = "everything in full: identities, and the lists that are cut above"


class Part(StrEnum):
    """What a section of a card is about."""

    HEAD = "head"
    PREDICTED = "predicted"
    CHANGE = "change"
    GUEST = "guest"
    PROSE = "prose"
    OFFERS = "offers"
    EVERYTHING = "everything"
    END = "end"


_HEADINGS = {
    Part.PREDICTED: (PREDICTED, Style.WARNING),
    Part.GUEST: (GUEST, Style.QUIET),
    Part.PROSE: (PROSE, Style.WARNING),
    Part.OFFERS: (OFFERS, Style.QUIET),
    Part.EVERYTHING: (EVERYTHING, Style.QUIET),
}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a card with its rows."""

    part: Part
    heading: Row | None
    """None for parts that are never folded away."""
    rows: Sequence[Row]


class Outline(Sequence[Part]):
    """The sections of one card, by number; changes stand together, in the changeset's order."""

    def __init__(self, card: DiffCard) -> None:
        """Take the card; nothing of it is laid out yet."""
        self._card = card
        self._sections = tuple(card.sections())
        self._before = [Part.HEAD, *([Part.PREDICTED] if card.predicted else [])]
        self._after = [
            *([Part.GUEST] if card.report is not None else []),
            *([Part.PROSE] if card.prose else []),
            *([Part.OFFERS] if card.offers else []),
            Part.EVERYTHING,
            Part.END,
        ]

    def __len__(self) -> int:
        """Return the number of sections."""
        return len(self._before) + len(self._sections) + len(self._after)

    def __getitem__(self, number: int) -> Part:  # type: ignore[override]
        """Return what a section is about."""
        first = len(self._before)
        if number < first:
            return self._before[number]
        number -= first + len(self._sections)
        return Part.CHANGE if number < 0 else self._after[number]

    @property
    def changes(self) -> range:
        """Numbers of the sections that are changes."""
        return range(len(self._before), len(self._before) + len(self._sections))

    def path(self, number: int) -> str:
        """Return the path that a section is about; empty if it is no change."""
        return self._sections[number - len(self._before)][0].path if number in self.changes else ""

    def rough_rows(self, number: int) -> int:
        """Return about how many rows a section has; costs next to nothing."""
        if number not in self.changes:
            return 12
        diff = self._sections[number - len(self._before)][1]
        return 1 if diff is None else max(1, sum(len(hunk.lines) + 1 for hunk in diff.hunks) - 1)

    def section(self, number: int, look: Look) -> Section:
        """Return a section for a terminal's look."""
        part = self[number]
        if part is Part.CHANGE:
            index = number - len(self._before)
            change, diff = self._sections[index]
            counted = f"{index + 1:,}/{len(self._sections):,}"
            heading = heading_row(change, diff, counted, look)
            return Section(part, heading, change_rows(change, diff, look))
        return Section(part, _heading(part, look), self._rows(part, look))

    def _rows(self, part: Part, look: Look) -> Sequence[Row]:
        card = self._card
        if part is Part.HEAD:
            return head_rows(card, look)
        if part is Part.PREDICTED:
            return predicted_rows(card, look)
        if part is Part.GUEST:
            return guest_rows(card, look, everything=True)
        if part is Part.PROSE:
            return prose_rows(card, look)
        if part is Part.OFFERS:
            return list(offer_rows(card, look))
        if part is Part.EVERYTHING:
            return list(everything_rows(card, look))
        return [end_row(card, look)]


def head_rows(card: DiffCard, look: Look) -> Sequence[Row]:
    """Return what is read first: the question, the effect in numbers, the call, the verdict."""
    effect, facts = effect_rows(card, look), fact_rows(card, look)
    return [title_row(card, look), BLANK, *effect, BLANK, *facts]


def end_row(card: DiffCard, look: Look) -> Row:
    """Return the line that closes a card."""
    return Row(((RULES[card.risk], look.glyphs.heavy * look.columns),), edge=())


def part_heading(part: Part, look: Look) -> Row:
    """Return the heading of a part that is no change."""
    text, style = _HEADINGS[part]
    edge = ((Style.QUIET, look.glyphs.light * 2 + " "),)
    return Row(((style, text),), edge=edge, hang=((Style.QUIET, "   "),), prose=True)


def foldable(heading: Row, look: Look, *, folded_lines: int | None) -> Row:
    """Return a heading that says whether its rows are folded away, and how many lines they are."""
    glyph = look.glyphs.unfolded if folded_lines is None else look.glyphs.folded
    edge = ((Style.STRONG, f"{glyph}{look.glyphs.light} "),)
    if folded_lines is None:
        return replace(heading, edge=edge)
    lines = f"{folded_lines:,} line{'' if folded_lines == 1 else 's'} folded"
    return replace(
        heading, edge=edge, spans=(*heading.spans, (Style.YELLOW, f"  {look.glyphs.more} {lines}"))
    )


def _heading(part: Part, look: Look) -> Row | None:
    return part_heading(part, look) if part in _HEADINGS else None
