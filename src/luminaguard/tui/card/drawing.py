"""From a card's laid-out lines to what the toolkit sends to the terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.color import Color
from textual.filter import LineFilter
from textual.strip import Strip

from luminaguard.approval.intraline import marked
from luminaguard.approval.look import RULES, Ground, Look, Style
from luminaguard.approval.outline import Part
from luminaguard.approval.rows import Span, shown
from luminaguard.approval.wrap import width
from luminaguard.tui.card.block import Block
from luminaguard.tui.card.document import CardDocument
from luminaguard.tui.card.palette import rich_style
from luminaguard.tui.card.search import Search

_PART_NAMES = {
    Part.HEAD: "the call and its effect",
    Part.PREDICTED: "predicted, NOT measured",
    Part.GUEST: "what the guest says",
    Part.PROSE: "what the model says",
    Part.OFFERS: "what you could have remembered",
    Part.EVERYTHING: "everything in full",
    Part.END: "end of the card",
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """How lines are drawn on one theme and terminal."""

    base: RichStyle
    is_dark: bool
    has_colors: bool
    filters: Sequence[LineFilter]
    background: Color

    def line(
        self, document: CardDocument, block: Block, within: int, search: Search, *, is_current: bool
    ) -> Strip:
        """Return a line of a block; drawn once, then remembered with the block."""
        key = ~within if is_current else within
        known = block.drawn.get(key)
        if isinstance(known, Strip):
            return known
        fitted, row, part = block.place(within)
        start, end = fitted.start(part), fitted.ends[part]
        text = fitted.line(part)
        for first, last, style in search.within(block.number, row):
            if first < end and last > start:
                found = (max(first, start) - start, min(last, end) - start)
                text = list(marked(text, (found,), style))
        ground = Ground.CURRENT if is_current else fitted.row.ground
        strip = self.strip((*fitted.edge(part), *text), ground, document.look.columns)
        block.drawn[key] = strip
        return strip

    def strip(self, spans: Iterable[Span], ground: Ground, columns: int) -> Strip:
        """Return spans as one line of the terminal, filled up to its width."""
        segments = [Segment(text, self._style(style, ground)) for style, text in spans if text]
        strip = Strip(segments).extend_cell_length(columns, self._style(Style.PLAIN, ground))
        for one in self.filters:
            strip = strip.apply_filter(one, self.background)
        return strip

    def _style(self, style: Style, ground: Ground) -> RichStyle:
        return self.base + rich_style(
            style, ground, is_dark=self.is_dark, has_colors=self.has_colors
        )


def bar_spans(
    document: CardDocument, section: int, top: int, matches: str, look: Look
) -> Sequence[Span]:
    """Return the line above a card: which change of how many, how far down, in the risk's color."""
    heavy, rule = look.glyphs.heavy, RULES[document.card.risk]
    part = document.outline[section]
    name = document.outline.path(section) or _PART_NAMES.get(part, part.value)
    found = f" found {matches} {heavy}" if matches else ""
    line = f" {top + 1:,}/{document.height:,}"
    if look.columns >= 60:
        line = f" line {top + 1:,} of {document.height:,}"
    left = f"{position(document, section)} "
    room = look.columns - len(left) - len(found) - len(line) - 6
    text = _tail(shown(name, look), max(0, room), look)
    fill = heavy * max(1, room - width(text) + 1)
    return (
        (rule, f"{heavy} "),
        (Style.STRONG, left),
        (Style.CYAN if document.outline.path(section) else Style.QUIET, text),
        (rule, f" {fill}"),
        (Style.FOUND if found else Style.PLAIN, found),
        (Style.QUIET, line),
        (rule, f" {heavy}"),
    )


def position(document: CardDocument, section: int) -> str:
    """Return which change a section is, of how many: "[15/42]"; "[0/42]" before the first."""
    changes = document.outline.changes
    number = min(max(0, section - changes.start + 1), len(changes))
    return f"[{number:,}/{len(changes):,}]"


def _tail(text: str, room: int, look: Look) -> str:
    """Return the end of a text that fits, and how many characters stand before it."""
    if width(text) <= room:
        return text
    for left_out in range(1, len(text)):
        found = f"{look.glyphs.more}{left_out:,} {text[left_out:]}"
        if width(found) <= room:
            return found
    return ""
