"""The main screen: queue at the side, card in full, what goes on below, the keys at the bottom."""

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from luminaguard.approval.look import Look, Style
from luminaguard.approval.rows import Row, Span
from luminaguard.tui.card.view import CardView
from luminaguard.tui.queue_view import QueueView
from luminaguard.tui.strips import cropped, lines_of
from luminaguard.tui.trail_view import TrailView

SMALLEST = (36, 10)
"""Columns and rows below which no card can be read: nothing is decided there."""
SIDE_COLUMNS = 84
"""From this width on the queue stands beside the card; below, the first line tells of it."""
NOT_FOUND = "not found in this card"
STORY_ROWS = 32
"""From this height on the last lines of the story stand below the card."""


class MainScreen(Screen[None]):
    """Shows what the app tells it to; the card has the focus, so that keys scroll it."""

    AUTO_FOCUS = "CardView"
    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.step(1)", show=False),
        Binding("shift+tab", "app.step(-1)", show=False),
        Binding("slash", "search", show=False),
        Binding("v", "app.page", show=False),
        Binding("t", "story", show=False),
        Binding("question_mark", "app.help", show=False),
        Binding("q", "app.leave", show=False),
        Binding("escape", "back", show=False),
    ]
    DEFAULT_CSS = """
    MainScreen { layers: base over; background: $background; }
    MainScreen #head, MainScreen #status, MainScreen #keys { height: 1; width: 100%; }
    MainScreen #head { background: $panel; }
    MainScreen #status { background: $panel; }
    MainScreen #middle { height: 1fr; }
    MainScreen #main { width: 1fr; height: 100%; }
    MainScreen #card { height: 1fr; }
    MainScreen #trail { height: 4; border-top: solid $panel; }
    MainScreen #search { height: 1; border: none; padding: 0 1; display: none; }
    MainScreen #small { display: none; width: 100%; height: 100%; }
    MainScreen.story #card { display: none; }
    MainScreen.story #trail { height: 1fr; display: block; border-top: none; }
    MainScreen.narrow #queue { display: none; }
    MainScreen.low #trail { display: none; }
    MainScreen.low.story #trail { display: block; }
    MainScreen.searching #search { display: block; }
    MainScreen.tiny #small { display: block; }
    MainScreen.tiny #head, MainScreen.tiny #middle { display: none; }
    MainScreen.tiny #status, MainScreen.tiny #keys { display: none; }
    """

    @dataclass
    class Rearranged(Message):
        """Other parts are on the screen than before."""

        notice: str = ""

    def __init__(self, queue: QueueView, card: CardView, trail: TrailView) -> None:
        """Put the parts together."""
        super().__init__()
        self.queue, self.card, self.trail = queue, card, trail
        self._wants_story = False

    def compose(self) -> ComposeResult:
        """Build the screen."""
        yield Static(id="small")
        yield Static(id="head")
        with Horizontal(id="middle"):
            yield self.queue
            with Vertical(id="main"):
                yield self.card
                yield self.trail
        yield Input(placeholder="search in the card", id="search")
        yield Static(id="status")
        yield Static(id="keys")

    @property
    def is_tiny(self) -> bool:
        """Whether the terminal is too small for any card."""
        size = self.size
        return size.width < SMALLEST[0] or size.height < SMALLEST[1]

    @property
    def hides_card(self) -> bool:
        """Whether the card is not to be seen, or another line has the keys."""
        return self.is_tiny or self.has_class("story") or self.has_class("searching")

    def fit(self, look: Look, *, has_card: bool) -> None:
        """Arrange the parts for the size of the terminal; without a card the story has room."""
        size = self.size
        self.set_class(self._wants_story or not has_card, "story")
        self.set_class(self.is_tiny, "tiny")
        self.set_class(size.width < SIDE_COLUMNS, "narrow")
        self.set_class(size.height < STORY_ROWS, "low")
        if self.is_tiny:
            wanted = f"{SMALLEST[0]}x{SMALLEST[1]}"
            text = (
                f"{size.width}x{size.height} is too small to show a card. Make the terminal at "
                f"least {wanted}. Nothing is decided here until then; q closes the screen."
            )
            row = Row(((Style.WARNING, text),), edge=(), prose=True)
            lines = [line.plain for line in lines_of([row], _plain(look, size.width))]
            self.query_one("#small", Static).update("\n".join(lines))

    def line(self, name: str, spans: tuple[Span, ...], look: Look) -> None:
        """Show one line: "head", "status" or "keys"."""
        fitting = Look(columns=max(1, self.size.width), color=look.color, unicode=look.unicode)
        for where in self.query(f"#{name}").results(Static):  # none while the screen closes
            where.update(cropped(spans, fitting))

    def action_search(self) -> None:
        """Ask what to look for in the card."""
        if not self.has_class("story"):
            self.add_class("searching")
            self.query_one("#search", Input).focus()
            self.post_message(self.Rearranged())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Look for it."""
        event.stop()
        self._end_search()
        found = self.card.search(event.value)
        self.post_message(self.Rearranged("" if found or not event.value else NOT_FOUND))

    def action_story(self) -> None:
        """Show the story in full, or the card again."""
        self._wants_story = not self._wants_story
        self.post_message(self.Rearranged())

    def action_back(self) -> None:
        """Show the card again, without the search line or the story."""
        self._end_search()
        self._wants_story = False
        self.post_message(self.Rearranged())

    def _end_search(self) -> None:
        self.remove_class("searching")
        self.query_one("#search", Input).clear()
        self.card.focus()


def _plain(look: Look, columns: int) -> Look:
    return Look(columns=columns, color=False, unicode=look.unicode)
