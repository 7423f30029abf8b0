"""What is asked beside the card: a reason, a word, what to remember, whether to leave.

Each dialog belongs to one request by its digest, and goes when that request goes. None of them
takes a yes by a button, by Enter alone, or from a paste.
"""

from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from luminaguard.approval.dialog import APPROVING_WORD, LONGEST_LINE
from luminaguard.approval.keys import WordGate
from luminaguard.approval.look import Look, Style
from luminaguard.approval.rows import Row
from luminaguard.domain.grant import GrantOffer
from luminaguard.tui.strips import lines_of, plain

Result = TypeVar("Result")
_BOX_COLUMNS = 90
_EDGES = 6
"""Columns of a box's border and padding, and of a scrollbar in it."""


class Dialog(ModalScreen[Result], Generic[Result]):
    """A box over the card."""

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > Vertical {
        width: 90%; max-width: 90; height: auto; max-height: 95%;
        padding: 0 1; border: heavy $accent; background: $surface;
    }
    Dialog VerticalScroll { height: auto; max-height: 100%; }
    Dialog Input { border: none; height: 1; padding: 0 1; background: $boost; }
    Dialog Input:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", show=False)]

    def __init__(self, look: Look, digest: str = "") -> None:
        """Make a box about the request of this digest; about none when empty."""
        super().__init__()
        self.look = look
        self.digest = digest

    @property
    def subject(self) -> str:
        """What a key that counts would be about; empty: no key counts here."""
        return ""

    def action_back(self) -> None:
        """Close without an answer."""
        self.dismiss(None)

    def text_of(self, rows: Iterable[Row]) -> Text:
        """Return rows laid out to the box's width."""
        columns = min(_BOX_COLUMNS, int(self.look.columns * 0.9)) - _EDGES
        look = Look(columns=max(20, columns), color=self.look.color, unicode=self.look.unicode)
        return Text("\n").join(lines_of(rows, look))


class ReasonDialog(Dialog[str]):
    """Asks why not; closing with Enter rejects, with or without a reason."""

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical():
            yield Static(self.text_of([plain("Reject: why not?", Style.STRONG)]))
            yield Static(
                self.text_of(
                    [plain("Enter rejects, with or without a reason; Esc goes back.", Style.QUIET)]
                )
            )
            yield Input(max_length=LONGEST_LINE, id="reason")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand back the reason."""
        event.stop()
        self.dismiss(event.value.strip())


class WordInput(Input):
    """A line that takes letters from a hand and nothing from a paste."""

    def __init__(self, gate: WordGate) -> None:
        """Let `gate` know of each letter."""
        super().__init__(id="word", max_length=40)
        self._gate = gate
        self.entered_at = 0.0

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            self.entered_at = event.time
        elif event.is_printable:
            if not self.value:
                self._gate.begun_anew()
            self._gate.typed(event.time)
        await super()._on_key(event)

    def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self._gate.begun_anew()
        self.value = ""


class WordDialog(Dialog[str]):
    """Wants a word typed, letter by letter, before a critical effect is approved."""

    def __init__(self, look: Look, digest: str) -> None:
        """Make the box."""
        super().__init__(look, digest)
        self._gate = WordGate()

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical():
            asked = f"CRITICAL: type the word {APPROVING_WORD} and press Enter."
            yield Static(self.text_of([plain(asked, Style.STRONG)]))
            yield Static(
                self.text_of([plain("Esc goes back; a pasted word does not count.", Style.QUIET)])
            )
            yield WordInput(self._gate)
            yield Static(id="answer")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Approve if the word is right and was typed."""
        event.stop()
        field = self.query_one(WordInput)
        is_word = event.value.strip() == APPROVING_WORD
        if is_word and self._gate.is_typed(field.entered_at):
            self.dismiss(APPROVING_WORD)
            return
        why = "That came too fast for a hand: type it." if is_word else "Not that word."
        self.query_one("#answer", Static).update(
            self.text_of([plain(f"Not approved. {why}", Style.WARNING)])
        )
        self._gate.begun_anew()
        field.value = ""


class SecretDialog(Dialog[str]):
    """Asks for the approver secret, unseen."""

    def __init__(self, look: Look, digest: str, why: str) -> None:
        """Make the box, and say why it is asked for."""
        super().__init__(look, digest)
        self._why = why

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical():
            yield Static(self.text_of([plain(self._why, Style.STRONG)]))
            hint = "The approver secret; it is asked for once. Esc goes back, nothing happens."
            yield Static(self.text_of([plain(hint, Style.QUIET)]))
            yield Input(password=True, id="secret")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand back the secret."""
        event.stop()
        self.dismiss(event.value or None)


class GrantDialog(Dialog[str]):
    """Shows what can be remembered with a yes, and what else each choice would let through."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j,tab", "choose(1)", show=False),
        Binding("up,k,shift+tab", "choose(-1)", show=False),
    ]

    class Chosen(Message):
        """Another offer is looked at."""

    def __init__(self, look: Look, digest: str, offers: tuple[GrantOffer, ...]) -> None:
        """Make the box; the narrowest offer is looked at first."""
        super().__init__(look, digest)
        self.offers = offers
        self.chosen = 0

    @property
    def subject(self) -> str:
        """The request and the offer that is looked at."""
        return f"{self.digest} {self.offers[self.chosen].offer_id}"

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical():
            yield Static(self.text_of([plain("Approve, and remember it?", Style.STRONG)]))
            with VerticalScroll():
                yield Static(id="offers")
            keys = "Up/Down choose; a approves with the marked choice; Esc goes back."
            yield Static(self.text_of([plain(keys, Style.QUIET)]))

    def on_mount(self) -> None:
        """Show the offers."""
        self._show()

    def action_choose(self, by: int) -> None:
        """Look at another offer."""
        self.chosen = min(max(0, self.chosen + by), len(self.offers) - 1)
        self._show()
        self.post_message(self.Chosen())

    def take(self) -> None:
        """Hand back the id of the offer that is looked at."""
        self.dismiss(self.offers[self.chosen].offer_id)

    def _show(self) -> None:
        rows = [row for at, offer in enumerate(self.offers) for row in self._rows(at, offer)]
        self.query_one("#offers", Static).update(self.text_of(rows))

    def _rows(self, at: int, offer: GrantOffer) -> Iterable[Row]:
        mark = "> " if at == self.chosen else "  "
        style = Style.STRONG if at == self.chosen else Style.PLAIN
        yield Row(
            ((style, f"{offer.scope.value}: "), (style, offer.covers)),
            edge=((Style.YELLOW, mark),),
            hang=((Style.PLAIN, "  "),),
            prose=True,
        )
        for also in offer.also:
            yield Row(
                ((Style.PLAIN, also),),
                edge=((Style.QUIET, "    also lets through: "),),
                hang=((Style.PLAIN, "      "),),
            )
        if not offer.also:
            yield Row(((Style.QUIET, "lets nothing else through"),), edge=((Style.PLAIN, "    "),))


class TextDialog(Dialog[str]):
    """Shows a text; one key may say yes to something that is not about any request."""

    def __init__(self, look: Look, rows: Iterable[Row], *, yes_key: str = "") -> None:
        """Make the box; `yes_key` closes it with itself, every other key with nothing."""
        super().__init__(look)
        self._rows = tuple(rows)
        self._yes_key = yes_key

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(), VerticalScroll():
            yield Static(self.text_of(self._rows))

    def on_key(self, event: events.Key) -> None:
        """Close, unless the key scrolls."""
        if event.key in {"up", "down", "pageup", "pagedown", "home", "end"}:
            return
        event.stop()
        self.dismiss(event.key if event.key == self._yes_key else None)
