"""Rows of a card, laid out to a terminal's width: the one place where text becomes screen lines.

Every text passes through `visible` here, whoever wrote it, so no caller can forget. Each screen
line begins with the row's own edge, also where a long text goes on in the next line: foreign text
never stands where the card itself speaks. Only colors are added afterwards. The plain terminal and
the terminal UI draw the same rows.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from luminaguard.approval.look import Ground, Look, Style
from luminaguard.approval.wrap import line_ends, width
from luminaguard.domain.visible import spell, visible

__all__ = ["Excerpt", "Fitted", "Paint", "Row", "Span", "cut", "excerpt", "fit", "lay_out", "shown"]

LONG_BLANK = 100
"""Blanks in a row that are shown as a number: padding must not push text out of sight."""
_BLANKS = re.compile(f" {{{LONG_BLANK},}}")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")

Span = tuple[Style, str]
Paint = Callable[[str, Look], Sequence[Span]]
"""Divides a visible text into styled pieces, which joined are that text again."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a card before it is laid out."""

    spans: tuple[Span, ...]
    edge: tuple[Span, ...] = ((Style.PLAIN, "  "),)
    """Stands before the first line."""
    hang: tuple[Span, ...] = ()
    """Stands before each further line; the same as the edge when empty."""
    prose: bool = False
    """Break lines after blanks where possible; otherwise at the last column."""
    paint: Paint | None = None
    """Styles the last span's text piece by piece; called only for what is drawn."""
    ground: Ground = Ground.NONE
    """What the whole line stands for, where a screen can tint it."""


@dataclass(slots=True)
class Fitted:
    """A row laid out to a width: any of its screen lines, without making the others."""

    row: Row
    look: Look
    text: str
    """All of the row's text, visible; without edges."""
    ends: Sequence[int]
    """Where each line ends in the text."""
    _edge: list[Span]
    _hang: list[Span]
    _spans: list[Span]
    _pieces: Sequence[Span] | None = field(default=None, init=False)

    def __len__(self) -> int:
        """Number of screen lines, at least 1."""
        return len(self.ends)

    def start(self, number: int) -> int:
        """Return where a screen line begins in the text."""
        return self.ends[number - 1] if number else 0

    def edge(self, number: int) -> list[Span]:
        """Return what stands before a screen line's text."""
        return self._hang if number else self._edge

    def line(self, number: int) -> list[Span]:
        """Return a screen line's text with its styles, without the edge."""
        if self._pieces is None:
            self._pieces = _painted_spans(self.row, self._spans, self.look)
        return list(cut(self._pieces, self.start(number), self.ends[number]))


def fit(row: Row, look: Look) -> Fitted:
    """Lay a row out to the width of a terminal."""
    edge, hang, spans, room = _measured(row, look)
    text = spans[0][1] if len(spans) == 1 else "".join(text for _, text in spans)
    if len(text) <= room and width(text) <= room:
        ends: Sequence[int] = (len(text),)
    else:
        ends = array("Q", line_ends(text, room, prose=row.prose))
    return Fitted(row, look, text, ends, edge, hang, spans)


def lay_out(rows: Iterable[Row], look: Look) -> Iterator[str]:
    """Yield screen lines, none wider than the terminal, colors closed in each."""
    for one in rows:
        yield from _lines(one, look)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The first screen lines of some rows, and how much there is beyond them."""

    lines: tuple[str, ...]
    left_rows: int
    """Rows of which nothing, or not everything, is among the lines."""


def excerpt(rows: Iterable[Row], look: Look, *, lines: int) -> Excerpt:
    """Return at most `lines` screen lines; a row that does not fit whole counts as left."""
    taken: list[str] = []
    pending = iter(rows)
    for one in pending:
        more = list(islice(_lines(one, look), lines - len(taken) + 1))
        if len(taken) + len(more) > lines:
            taken += more[: lines - len(taken)]
            return Excerpt(tuple(taken), 1 + sum(1 for _ in pending))
        taken += more
    return Excerpt(tuple(taken), 0)


def shown(text: str, look: Look) -> str:
    """Return text as this terminal shows it: nothing deceptive, nothing it cannot draw."""
    if not (text.isascii() and text.isprintable()):
        text = visible(text, tab=look.glyphs.tab)
        if not look.unicode:
            text = _BEYOND_ASCII.sub(lambda found: spell(found.group()), text)
    if len(text) < LONG_BLANK:
        return text
    return _BLANKS.sub(lambda found: f"<U+0020>x{len(found.group())}", text)


def _lines(row: Row, look: Look) -> Iterator[str]:
    edge, hang, spans, room = _measured(row, look)
    text = "".join(text for _, text in spans)
    # Lazily: of a text of many megabytes, a first look takes only the first few lines.
    ends = line_ends(text, room, prose=row.prose)
    pieces = list(_painted_spans(row, spans, look))
    start = 0
    for number, end in enumerate(ends):
        line = pieces if (start, end) == (0, len(text)) else cut(pieces, start, end)
        yield "".join(
            look.paint(style, text) for style, text in (*(hang if number else edge), *line)
        )
        start = end


def _measured(row: Row, look: Look) -> tuple[list[Span], list[Span], list[Span], int]:
    """Return edge, hanging edge and text, visible, and the columns that are left for the text."""
    edge = [(style, shown(text, look)) for style, text in row.edge]
    hang = [(style, shown(text, look)) for style, text in row.hang] if row.hang else edge
    spans = [(style, shown(text, look)) for style, text in row.spans]
    return edge, hang, spans, max(2, look.columns - max(_total(edge), _total(hang)))


def _total(spans: list[Span]) -> int:
    return sum(width(text) for _, text in spans)


def _painted_spans(row: Row, spans: list[Span], look: Look) -> Sequence[Span]:
    if row.paint is None or not spans or not look.color:
        return spans
    return [*spans[:-1], *row.paint(spans[-1][1], look)]


def cut(spans: Iterable[Span], start: int, end: int) -> Iterator[Span]:
    """Yield the part of some spans that stands between two offsets of their joined text."""
    at = 0
    for style, text in spans:
        if at >= end:
            return
        part = text[max(0, start - at) : end - at]
        if part:
            yield style, part
        at += len(text)
