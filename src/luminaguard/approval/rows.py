"""Rows of a card, laid out to a terminal's width: the one place where text becomes screen lines.

Every text passes through `visible` here, whoever wrote it, so no caller can forget. Each screen
line begins with the row's own edge, also where a long text goes on in the next line: foreign text
never stands where the card itself speaks. Only colors are added afterwards.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from unicodedata import category, east_asian_width

from luminaguard.approval.look import Look, Style
from luminaguard.domain.visible import spell, visible

LONG_BLANK = 100
"""Blanks in a row that are shown as a number: padding must not push text out of sight."""
_BLANKS = re.compile(f" {{{LONG_BLANK},}}")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")

Span = tuple[Style, str]


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


def width(text: str) -> int:
    """Return how many columns a visible text takes.

    Source: UAX 11 (East Asian Width); joined emoji count each part, so never too little.
    """
    if text.isascii():
        return len(text)
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if char < "\u0300":
        return 1
    if category(char) in {"Mn", "Me"} or char == "\u200d":
        return 1 if char == "\ufe0f" else 0  # makes the emoji before it two columns wide
    return 2 if east_asian_width(char) in "WF" else 1


def _lines(one: Row, look: Look) -> Iterator[str]:
    edge = [(style, shown(text, look)) for style, text in one.edge]
    hang = [(style, shown(text, look)) for style, text in one.hang] or edge
    spans = [(style, shown(text, look)) for style, text in one.spans]
    room = max(2, look.columns - max(_total(edge), _total(hang)))
    if _fits(spans, room):
        yield _painted([*edge, *spans], look)
        return
    for number, piece in enumerate(_wrapped(spans, room, prose=one.prose)):
        yield _painted([*(hang if number else edge), *piece], look)


def _fits(spans: list[Span], room: int) -> bool:
    # The width of a very long text is not worth knowing: it takes longer than laying it out.
    return sum(len(text) for _, text in spans) <= 8 * room and _total(spans) <= room


def _total(spans: list[Span]) -> int:
    return sum(width(text) for _, text in spans)


def _painted(spans: list[Span], look: Look) -> str:
    return "".join(look.paint(style, text) for style, text in spans)


def _wrapped(spans: list[Span], room: int, *, prose: bool) -> Iterator[list[Span]]:
    """Yield runs of spans that each fit into `room` columns; no character is left out."""
    line: list[Span] = []
    left = room
    for style, text in spans:
        start = 0
        while start < len(text):
            end = _fitting(text, start, left)
            if prose and end < len(text):
                end = _after_blank(text, start, end, is_fresh=left == room)
            if end == start:
                yield line
                line, left = [], room
                continue
            line.append((style, text[start:end]))
            left -= width(text[start:end])
            start = end
    if line:
        yield line


def _fitting(text: str, start: int, room: int) -> int:
    """Return where the part of `text` from `start` ends that fits into `room` columns."""
    if text[start : start + room + 1].isascii():
        return min(len(text), start + room)
    used = 0
    for index in range(start, len(text)):
        used += _char_width(text[index])
        if used > room:
            return index
    return len(text)


def _after_blank(text: str, start: int, end: int, *, is_fresh: bool) -> int:
    """Return where to break at `end` or before: after a blank, or nowhere on a line in use."""
    blank = text.rfind(" ", start, end)
    if blank >= 0:
        return blank + 1
    return end if is_fresh else start
