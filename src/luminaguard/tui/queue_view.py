"""The queue at the side: a mark and a title for each open question, its age and what is left.

Drawn line by line, only what is visible: two hundred entries cost as much as ten.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rich.style import Style as RichStyle
from rich.text import Text
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from luminaguard.approval.look import RULES, Look, Style
from luminaguard.approval.summary import headline
from luminaguard.tui.board import Board, Entry
from luminaguard.tui.strips import cropped, strip_of

ENTRY_LINES = 2
HURRY_S = 30.0
"""Below this, what is left is shown as urgent."""
_SELECTED = RichStyle(reverse=True)


class QueueView(ScrollView, can_focus=False):
    """Shows a board; a click looks at an entry and never answers it."""

    DEFAULT_CSS = """
    QueueView { width: 32; border-right: solid $panel; overflow-x: hidden;
                scrollbar-size-vertical: 1; }
    """

    @dataclass
    class Picked(Message):
        """An entry was clicked."""

        index: int

    def __init__(self, board: Board, now: Callable[[], datetime]) -> None:
        """Show `board`, whose times are compared with `now`."""
        super().__init__(id="queue")
        self._board = board
        self._now = now
        self.look = Look()

    def show(self, look: Look) -> None:
        """Draw the board as it is now."""
        self.look = look
        self.virtual_size = Size(self.size.width, ENTRY_LINES * len(self._board.entries))
        at = self._board.index
        if at >= 0:
            place = Region(0, ENTRY_LINES * at, 1, ENTRY_LINES)
            self.scroll_to_region(place, animate=False)
        self.refresh()

    def tick(self) -> None:
        """Draw the times again."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one screen line."""
        at, line = divmod(y + self.scroll_offset.y, ENTRY_LINES)
        width = self.size.width
        if not 0 <= at < len(self._board.entries) or width <= 0:
            return Strip.blank(width, self.rich_style)
        text = self._text(self._board.entries[at], line, width)
        strip = strip_of(text).extend_cell_length(width)
        if at == self._board.index:
            return strip.apply_style(_SELECTED)
        return strip.apply_style(self.rich_style)

    def _text(self, entry: Entry, line: int, width: int) -> Text:
        look = Look(columns=max(4, width - 1), color=self.look.color, unicode=self.look.unicode)
        card = entry.pending.card
        if line == 0:
            mark = f"{look.glyphs.risks[card.risk]} "
            return cropped(((Style.PLAIN, mark), (Style.STRONG, title(entry))), look)
        now = self._now()
        left = entry.left_s(now)
        age = (now - entry.pending.opened_at).total_seconds()
        hurry = Style.WARNING if left < HURRY_S else Style.QUIET
        effect = headline(card.summary)
        return cropped(
            (
                (RULES[card.risk], f"   {card.risk.value.upper()} "),
                (Style.QUIET, f"{clock_text(age)} old, "),
                (hurry, f"{clock_text(left)} left"),
                (Style.QUIET, f"  {effect}" if width > 36 else ""),
            ),
            look,
        )

    def on_click(self, event: events.Click) -> None:
        """Look at the entry under the pointer."""
        at = (event.y + self.scroll_offset.y) // ENTRY_LINES
        if 0 <= at < len(self._board.entries):
            self.post_message(self.Picked(at))


def title_spans(entry: Entry, look: Look) -> tuple[tuple[Style, str], ...]:
    """Return the risk as mark and word, and what was called."""
    card = entry.pending.card
    return (
        (Style.PLAIN, f"{look.glyphs.risks[card.risk]} "),
        (RULES[card.risk], f"{card.risk.value.upper()} "),
        (Style.STRONG, title(entry)),
    )


def title(entry: Entry) -> str:
    """Return a question's short title: the tool and what it was called with."""
    call = entry.pending.card.call
    texts = [value for value in call.arguments.values() if isinstance(value, str)]
    words = [
        " ".join(str(item) for item in value)
        for value in call.arguments.values()
        if isinstance(value, list)
    ]
    said = (texts + words)[:1]
    return f"{call.tool} {said[0].splitlines()[0] if said and said[0] else ''}".strip()


def clock_text(seconds: float) -> str:
    """Return a time span as minutes and seconds: "4:07"."""
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02}"
