"""The Diff Card on the screen: scrolled, folded and searched; it decides nothing."""

import time
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType

from luminaguard.tui.card.lines import CardLines
from luminaguard.tui.card.search import Search

FIRST_SEARCH_S = 0.05
"""A search answers after this time; what is left is searched while nothing else is going on."""

WHEEL_LINES = 3


class CardView(CardLines):
    """Shows one card, or nothing, and takes keys and clicks that move it."""

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

    # Moving

    def action_lines(self, count: int) -> None:
        """Scroll by lines."""
        if self._document is not None:
            self._go(self._document.below(self.scroll_offset.y, count))

    def action_pages(self, count: int) -> None:
        """Scroll by screens, one line of which stays."""
        self.action_lines(count * max(1, self._rows - 1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll by a few lines; sideways with Shift or Ctrl, as the toolkit does."""
        self._wheel(event, WHEEL_LINES)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll by a few lines; sideways with Shift or Ctrl, as the toolkit does."""
        self._wheel(event, -WHEEL_LINES)

    def _wheel(self, event: events.MouseEvent, count: int) -> None:
        if not (event.shift or event.ctrl):
            event.prevent_default().stop()
            self.action_lines(count)

    def action_ends(self, direction: int) -> None:
        """Scroll to the top or to the end."""
        document = self._document
        if document is not None:
            self._go(0 if direction < 0 else document.last_screen(self._rows))

    def action_changes(self, direction: int) -> None:
        """Go to the next or the previous change, or other part with a heading."""
        document = self._document
        if document is None:
            return
        current = self.current
        is_inside = document.top_of_section(current) < self.scroll_offset.y
        target = current if direction < 0 and is_inside else current + direction
        if 0 <= target < len(document.outline) - 1:  # the last part is a mere line
            self._choose(target)

    def _choose(self, section: int) -> None:
        if self._document is not None:
            self._chosen = section
            self._go(self._document.top_of_section(section))
            self._changed()

    def action_hunks(self, direction: int) -> None:
        """Go to the next or the previous run of changed lines."""
        document = self._document
        line = document.next_hunk(self.scroll_offset.y, direction) if document else None
        if line is not None:
            self._go(line)

    # Folding

    def action_fold(self) -> None:
        """Fold the current part away, or show it again."""
        self.toggle(self.current)

    def action_fold_all(self) -> None:
        """Fold all changes away; show them again if all are."""
        document = self._document
        if document is not None:
            section = self.current
            are_folded = all(map(document.is_folded, document.outline.changes))
            document.fold_all(folded=not are_folded)
            self._choose(section)

    def toggle(self, section: int) -> None:
        """Fold a part of the card away, or show it again."""
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
        """Fold or show the part whose heading is clicked on; the first line leads to its top."""
        document, offset = self._document, event.get_content_offset(self)
        if document is None or offset is None:
            return
        if offset.y == 0:
            self._choose(self.current)
            return
        line = self.scroll_offset.y + offset.y - 1
        if line < document.height:
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
        end = time.monotonic() + FIRST_SEARCH_S
        self._search.run(document, lambda: time.monotonic() > end)
        self._show_match()
        return len(self._search)

    def action_matches(self, direction: int) -> None:
        """Go to the next or the previous match."""
        if self._search.step(direction):
            self._show_match()
