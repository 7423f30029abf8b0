"""The lines of a card on the screen: laid out to its width, drawn one by one, and nothing else.

Draws by the toolkit's line API, so a frame costs what is on the screen and nothing else. All text
comes laid out from `approval.rows`: visible, behind its edge, never as markup. The first line tells
where in the card the screen is; foreign text never stands there but as a path.
"""

import time
from dataclasses import dataclass, replace

from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Ground, Look
from luminaguard.tui.card.document import CardDocument
from luminaguard.tui.card.drawing import Drawing, bar_spans, position
from luminaguard.tui.card.search import Search
from luminaguard.tui.card.syntax import highlight

NARROWEST = 16
"""Columns; a card in fewer is scrolled sideways."""
AHEAD_EVERY_S = 0.04
AHEAD_FOR_S = 0.006
"""How often, and for how long, what is out of sight is laid out while nothing else is going on."""
QUIET_S = 0.12
"""Nothing is laid out ahead so long after the card was scrolled."""


class CardLines(ScrollView):
    """The lines of one card, or nothing; knows no keys."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    CardLines {
        overflow-x: auto;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 1;
        scrollbar-color: $foreground 45%;
        scrollbar-color-hover: $foreground 65%;
        scrollbar-color-active: $foreground 85%;
        scrollbar-background: $background;
        scrollbar-background-hover: $background;
        scrollbar-background-active: $background;
    }
    """

    @dataclass
    class Moved(Message):
        """What is on the screen is another part of the card, or shown in another way."""

        view: "CardLines"

        @property
        def control(self) -> "CardLines":
            """The card."""
            return self.view

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - the toolkit's name
        """Show nothing until `show` is called."""
        super().__init__(id=id)
        self._document: CardDocument | None = None
        self._look = Look()
        self._search = Search()
        self._drawing: Drawing | None = None
        self._chosen: int | None = None
        """Section that was gone to; the keys act on it as long as its heading is in sight."""
        self._busy_until = 0.0

    # What is shown

    def show(self, card: DiffCard | None, look: Look) -> None:
        """Show a card from its top; the same card again stays where it is.

        Args:
            card: What to show; None for nothing.
            look: Colors and characters of the terminal; its columns do not matter here.
        """
        self._look, self._drawing = look, None
        if card is None or card is not self.card:
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
        return position(self._document, self.current) if self._document else ""

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
    def height_is_guessed(self) -> bool:
        """Whether some of the card was never laid out, so that the scrollbar may still move."""
        return self._document is not None and not self._document.is_measured

    @property
    def matches(self) -> str:
        """Which match of how many, as "3/17"; a "+" behind it while more may be found."""
        return self._search.count_text

    @property
    def is_searching(self) -> bool:
        """Whether there is more of the card to look through for what was searched."""
        return self._search.is_running

    # Drawing

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the lines of a part of the screen.

        The toolkit's own way from here to `render_line` adds borders and paddings, of which a card
        has none, and would take two thirds of a frame's time.
        """
        current = self.current
        return [self._line(y, current).crop(crop.x, crop.right) for y in crop.line_range]

    def render_line(self, y: int) -> Strip:
        """Return one line of the screen."""
        return self._line(y, self.current)

    def _line(self, y: int, current: int) -> Strip:
        document, drawing, columns = self._document, self._drawn_with(), self._columns
        line = self.scroll_offset.y + y - 1
        if document is None or line >= document.height:
            return drawing.strip((), Ground.NONE, columns)
        if y == 0:
            look = replace(document.look, columns=columns)
            spans = bar_spans(document, current, line + 1, self.matches, look)
            return drawing.strip(spans, Ground.NONE, columns)
        block, within = document.at(line)
        document.saw(block, within)
        is_current = block.section == current and within in block.heading_lines
        strip = drawing.line(document, block, within, self._search, is_current=is_current)
        if document.height + 1 != self.virtual_size.height:
            self.call_later(self._fit_height)
        if document.look.columns > columns:
            left = self.scroll_offset.x
            return strip.crop(left, left + columns)
        return strip

    def _drawn_with(self) -> Drawing:
        if self._drawing is None:
            background = self.background_colors[1]
            self._drawing = Drawing(
                base=self.rich_style,
                is_dark=background.brightness < 0.5,
                has_colors=self._look.color,
                filters=tuple(self.get_line_filters()),
                background=background,
            )
        return self._drawing

    def notify_style_update(self) -> None:
        """Draw everything anew: the theme is another one."""
        super().notify_style_update()
        self._drawing = None
        if self._document:
            self._document.redraw()

    # Fitting

    @property
    def _columns(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _rows(self) -> int:
        """Lines of the card that are on the screen."""
        return max(1, self.scrollable_content_region.height - 1)

    def _fitting(self) -> Look:
        columns = max(NARROWEST, self._columns)
        coloring = highlight if self._look.color else None
        return replace(self._look, columns=columns, highlight=coloring)

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
                self._go(document.line_of(place))
            self._fit_height()
        self._changed()

    def _fit_height(self) -> None:
        document = self._document
        if document is not None and self._columns:
            self.virtual_size = Size(document.look.columns, document.height + 1)

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
        self.set_interval(AHEAD_EVERY_S, self._work_ahead)

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the card to the new size."""
        self._lay_out()

    def _work_ahead(self) -> None:
        """Search, or lay out, some more of what is out of sight."""
        document, now = self._document, time.monotonic()
        if document is None or not self._columns or now < self._busy_until:
            return
        end = now + AHEAD_FOR_S
        if self._search.is_running:
            had_none = self._search.current is None
            self._search.run(document, lambda: time.monotonic() > end)
            if had_none and self._search.current is not None:
                self._show_match()
            self._changed()
        elif not document.is_measured:
            height = document.height
            place = document.place_at(self.scroll_offset.y)
            document.measure(lambda: time.monotonic() > end)
            if document.height != height:
                self._go(document.line_of(place))

    def _show_match(self) -> None:
        document, place = self._document, self._search.current
        if document is None:
            return
        document.redraw()
        self._changed()
        if place is None:
            return
        document.fold(document.section_of(place.block), folded=False)
        line = document.line_of(place)
        if not self.scroll_offset.y <= line < self.scroll_offset.y + self._rows:
            self._go(max(0, line - self._rows // 3))
