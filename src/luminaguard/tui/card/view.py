"""The Diff Card on the screen: scrolled, folded and searched; it decides nothing.

Draws line by line (the toolkit's line API), so a frame costs what is on the screen and nothing
else. All text comes laid out from `approval.rows`: visible, behind its edge, never as markup.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from luminaguard.approval.card import DiffCard
from luminaguard.approval.intraline import marked
from luminaguard.approval.look import MIN_COLUMNS, Ground, Look, Style
from luminaguard.approval.outline import Part
from luminaguard.approval.rows import Span
from luminaguard.tui.card.block import Block
from luminaguard.tui.card.document import CardDocument
from luminaguard.tui.card.palette import rich_style
from luminaguard.tui.card.search import Search
from luminaguard.tui.card.syntax import highlight

MEASURE_EVERY_S = 0.04
MEASURE_FOR_S = 0.006
"""How often, and for how long, what is out of sight is laid out while nothing else is going on."""
QUIET_S = 0.12
"""Nothing is laid out ahead so long after a key, a click or a turn of the wheel."""
FIRST_SEARCH_S = 0.05
"""A search answers after this time; what is left is searched while nothing else is going on."""


class CardView(ScrollView):
    """Shows one card, or nothing."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    CardView {
        overflow-x: auto;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "lines(-1)", show=False),
        Binding("down,j", "lines(1)", show=False),
        Binding("pageup,b", "pages(-1)", show=False),
        Binding("pagedown,space", "pages(1)", show=False),
        Binding("home", "ends(-1)", show=False),
        Binding("end", "ends(1)", show=False),
        Binding("right_square_bracket", "changes(1)", show=False),
        Binding("left_square_bracket", "changes(-1)", show=False),
        Binding("right_curly_bracket", "hunks(1)", show=False),
        Binding("left_curly_bracket", "hunks(-1)", show=False),
        Binding("enter", "fold", show=False),
        Binding("c", "fold_all", show=False),
        Binding("n", "matches(1)", show=False),
        Binding("N", "matches(-1)", show=False),
    ]

    @dataclass
    class Moved(Message):
        """What is on the screen is another part of the card, or shown in another way."""

        view: "CardView"

        @property
        def control(self) -> "CardView":
            """The card."""
            return self.view

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - the toolkit's name
        """Show nothing until `show` is called."""
        super().__init__(id=id)
        self._document: CardDocument | None = None
        self._look = Look()
        self._search = Search()
        self._chosen: int | None = None
        """Section that was gone to; the keys act on it as long as its heading is in sight."""
        self._busy_until = 0.0
        self._current_drawn = 0
        self._is_dark = True

    # What is shown

    def show(self, card: DiffCard | None, look: Look) -> None:
        """Show a card from its top; the same card again stays where it is.

        Args:
            card: What to show; None for nothing.
            look: Colors and characters of the terminal; its columns do not matter here.
        """
        self._look = look
        shown = self._document.card if self._document else None
        if card is not shown or card is None:
            self._search = Search()
            self._chosen = None
            self._document = None if card is None else CardDocument(card, self._fitting())
            self.scroll_to(0, 0, animate=False)
        self._lay_out()

    @property
    def card(self) -> DiffCard | None:
        """The card that is shown."""
        return self._document.card if self._document else None

    @property
    def position(self) -> str:
        """Which change the keys act on, of how many: "[15/42]"; "[0/42]" before the first."""
        document = self._document
        if document is None:
            return ""
        changes = document.outline.changes
        number = min(max(0, self.current - changes.start + 1), len(changes))
        return f"[{number:,}/{len(changes):,}]"

    @property
    def current(self) -> int:
        """The section that keys act on: the one that was gone to, else the topmost in sight."""
        document = self._document
        if document is None:
            return 0
        top = self.scroll_offset.y
        if self._chosen is not None:
            line = document.top_of_section(self._chosen)
            if top <= line < top + max(1, self._rows):
                return self._chosen
            self._chosen = None
        return document.at(top)[0].section

    @property
    def seen_whole(self) -> bool:
        """Whether each line of the card was on the screen at some time, unfolded."""
        return self._document is not None and self._document.is_seen_whole

    @property
    def unseen_changes(self) -> int:
        """Number of changes of which some line was never on the screen."""
        document = self._document
        if document is None:
            return 0
        changes = document.outline.changes
        return sum(not document.is_seen(range(number, number + 1)) for number in changes)

    @property
    def matches(self) -> str:
        """Which match of how many, as "3/17"; a "+" behind it while more may be found."""
        return self._search.count_text

    # Drawing

    def render_line(self, y: int) -> Strip:
        """Return one line of the screen."""
        document = self._document
        width = self._columns
        line = self.scroll_offset.y + y
        if document is None or line >= document.height:
            return Strip.blank(width, self.rich_style)
        if y == 0:
            self._current_drawn = self.current
        block, within = document.at(line)
        document.saw(block, within)
        is_current = block.section == self._current_drawn and within in block.heading_lines
        key = ~within if is_current else within
        strip = block.drawn.get(key)
        if not isinstance(strip, Strip):
            strip = block.drawn[key] = self._strip(document, block, within, is_current=is_current)
        if document.height != self.virtual_size.height:
            self.call_later(self._fit_height)
        if document.look.columns > width:
            left = self.scroll_offset.x
            return strip.crop(left, left + width)
        return strip

    def _strip(
        self, document: CardDocument, block: Block, within: int, *, is_current: bool
    ) -> Strip:
        fitted, row, part = block.place(within)
        start, end = fitted.start(part), fitted.ends[part]
        text = fitted.line(part)
        for first, last, style in self._search.within(block.number, row):
            if first < end and last > start:
                found = (max(first, start) - start, min(last, end) - start)
                text = list(marked(text, (found,), style))
        ground = Ground.CURRENT if is_current else fitted.row.ground
        return self._drawn((*fitted.edge(part), *text), ground, document.look.columns)

    def _drawn(self, spans: Iterable[Span], ground: Ground, width: int) -> Strip:
        base = self.rich_style
        dark, colors = self._is_dark, self._look.color
        segments = [
            Segment(text, base + rich_style(style, ground, is_dark=dark, has_colors=colors))
            for style, text in spans
            if text
        ]
        fill = base + rich_style(Style.PLAIN, ground, is_dark=dark, has_colors=colors)
        return Strip(segments).extend_cell_length(width, fill)

    # Fitting

    @property
    def _columns(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _rows(self) -> int:
        return self.scrollable_content_region.height

    def _fitting(self) -> Look:
        columns = max(MIN_COLUMNS, self._columns)
        return replace(
            self._look, columns=columns, highlight=highlight if self._look.color else None
        )

    def _lay_out(self) -> None:
        """Fit the card to the width, with the same text at the top as before."""
        document = self._document
        if document is None:
            self.virtual_size = Size(0, 0)
        elif self._columns:
            look = self._fitting()
            if look != document.look:
                place = document.place_at(self.scroll_offset.y)
                document.look = look
                self._fit_height()
                self._go(document.line_of(place))
            self._fit_height()
        self._changed()

    def _fit_height(self) -> None:
        document = self._document
        if document is None or not self._columns:
            return
        size = Size(document.look.columns, document.height)
        if size != self.virtual_size:
            self.virtual_size = size

    def _go(self, line: int) -> None:
        self._fit_height()
        self.scroll_to(y=line, animate=False)

    def _changed(self) -> None:
        self.refresh()
        self.post_message(self.Moved(self))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Tell that another part is in sight."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._busy_until = time.monotonic() + QUIET_S
            self.post_message(self.Moved(self))

    def on_mount(self) -> None:
        """Begin to lay out what is out of sight."""
        super().on_mount()
        self.set_interval(MEASURE_EVERY_S, self._work_ahead)

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the card to the new size."""
        self._lay_out()

    def notify_style_update(self) -> None:
        """Draw everything anew: the theme is another one."""
        super().notify_style_update()
        self._is_dark = self.background_colors[1].brightness < 0.5
        if self._document:
            self._document.redraw()

    def _work_ahead(self) -> None:
        """Lay out, and search, some more of what is out of sight."""
        document = self._document
        now = time.monotonic()
        if document is None or not self._columns or now < self._busy_until:
            return
        end = now + MEASURE_FOR_S
        if self._search.is_running:
            self._search.run(document, lambda: time.monotonic() > end)
            self._changed()
            return
        if document.is_measured:
            return
        height = document.height
        place = document.place_at(self.scroll_offset.y)
        document.measure(lambda: time.monotonic() > end)
        if document.height != height:
            self._go(document.line_of(place))

    # Moving

    def action_lines(self, count: int) -> None:
        """Scroll by lines."""
        self._go(self.scroll_offset.y + count)

    def action_pages(self, count: int) -> None:
        """Scroll by screens, one line of which stays."""
        self._go(self.scroll_offset.y + count * max(1, self._rows - 1))

    def action_ends(self, direction: int) -> None:
        """Scroll to the top or to the end."""
        document = self._document
        if document is not None:
            self._go(0 if direction < 0 else document.last_screen(self._rows))

    def action_changes(self, direction: int) -> None:
        """Go to the next or the previous change, or other section with a heading."""
        document = self._document
        if document is None:
            return
        target = self.current + direction
        if direction < 0 and self._is_inside(document):
            target = self.current
        if document.outline[min(target, len(document.outline) - 1)] is Part.END:
            return
        self._choose(max(0, target))

    def _is_inside(self, document: CardDocument) -> bool:
        """Return whether the current section's heading is above the screen."""
        return document.top_of_section(self.current) < self.scroll_offset.y

    def _choose(self, section: int) -> None:
        document = self._document
        if document is not None and section < len(document.outline):
            self._chosen = section
            self._go(document.top_of_section(section))
            self._changed()

    def action_hunks(self, direction: int) -> None:
        """Go to the next or the previous run of changed lines."""
        document = self._document
        if document is not None:
            line = document.next_hunk(self.scroll_offset.y, direction)
            if line is not None:
                self._go(line)

    # Folding

    def action_fold(self) -> None:
        """Fold the current section away, or show it again."""
        self.toggle(self.current)

    def action_fold_all(self) -> None:
        """Fold all changes away; show them again if all are."""
        document = self._document
        if document is None:
            return
        section = self.current
        are_folded = all(map(document.is_folded, document.outline.changes))
        document.fold_all(folded=not are_folded)
        self._fit_height()
        self._choose(section)

    def toggle(self, section: int) -> None:
        """Fold a section away, or show it again."""
        document = self._document
        if document is None or not document.can_fold(section):
            return
        document.fold(section, folded=not document.is_folded(section))
        self._fit_height()
        self._chosen = section
        top = document.top_of_section(section)
        if top < self.scroll_offset.y:
            self._go(top)
        self._changed()

    def on_click(self, event: events.Click) -> None:
        """Fold or show the section whose heading is clicked on."""
        document = self._document
        offset = event.get_content_offset(self)
        if document is None or offset is None:
            return
        line = self.scroll_offset.y + offset.y
        if line >= document.height:
            return
        block, within = document.at(line)
        if within in block.heading_lines:
            self.toggle(block.section)

    # Searching

    def search(self, query: str) -> int:
        """Look for a text in the whole card, also where it is folded away; empty ends a search.

        Goes to the first match from the screen's top on, and returns the number of matches that
        are known after a moment; in a huge card the search goes on, see `matches`.
        """
        document = self._document
        if document is None:
            return 0
        self._search = Search(query, document.place_at(self.scroll_offset.y))
        document.redraw()
        end = time.monotonic() + FIRST_SEARCH_S
        self._search.run(document, lambda: time.monotonic() > end)
        self._show_match()
        self._changed()
        return len(self._search)

    def action_matches(self, direction: int) -> None:
        """Go to the next or the previous match."""
        if self._document is not None and self._search.step(direction):
            self._show_match()
            self._changed()

    def _show_match(self) -> None:
        document, place = self._document, self._search.current
        if document is None or place is None:
            return
        document.redraw()
        section = document.section_of(place.block)
        if document.is_folded(section):
            document.fold(section, folded=False)
        line = document.line_of(place)
        if not self.scroll_offset.y <= line < self.scroll_offset.y + self._rows:
            self._go(max(0, line - self._rows // 3))
