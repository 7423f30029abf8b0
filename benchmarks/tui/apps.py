"""The programs that `frames.py` measures: the real screen, and the toolkit's own floor.

`cliff` is the product's screen with a queue of 200 questions: the first card has a difference of
10,000 lines, the second one 10,000 changed files. `floor` is a plain scroll view of the toolkit
over a text of as many lines, with nothing beside it. `bare` is the card alone.
"""

import sys
from datetime import UTC, datetime, timedelta

import anyio
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.desk import Answer, Pending
from luminaguard.approval.look import Look
from luminaguard.domain.approval import Decision
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.diff import Body, FileDiff, Hunk, LineKind
from luminaguard.errors import ApprovalError
from luminaguard.testing.cards import card_of, text_card, text_change
from luminaguard.tui.app import CliffApp
from luminaguard.tui.card.view import CardView

LINES = 10_000
FILES = 10_000
QUEUE = 200
OPENED = "src/opened_000000.py"
"""On the screen only when the card of many changes is."""


class Questions:
    """A desk whose questions never change."""

    def __init__(self, cards: list[DiffCard]) -> None:
        """Ask about these."""
        now = datetime.now(UTC)
        self._pending = tuple(
            Pending(
                request=card.request, card=card, session_id="s", origin="benchmark", opened_at=now
            )
            for card in cards
        )

    def pending(self) -> tuple[Pending, ...]:
        """Return all of them."""
        return self._pending

    async def wait_for_change(self, seen: int) -> int:
        """Change once, at the beginning."""
        if seen >= 1:
            await anyio.sleep_forever()
        return 1

    async def answer(self, request_digest: str, answer: Answer) -> Decision:
        """Decide nothing."""
        raise ApprovalError(f"nothing is decided here: {request_digest} {answer.end}")


def line(number: int) -> str:
    """Return a line of code, as long as such lines are."""
    return f"    total_{number} = price({number}) * count  # of item {number:,} in the order"


def long_card() -> DiffCard:
    """Return a card with one difference of LINES lines, every fourth line changed."""
    kinds = (LineKind.CONTEXT, LineKind.CONTEXT, LineKind.REMOVED, LineKind.ADDED)
    lines = tuple((kinds[number % 4], line(number - number % 4 // 3)) for number in range(LINES))
    diff = FileDiff(
        path="shop/orders.py",
        body=Body.TEXT,
        added=LINES // 4,
        removed=LINES // 4,
        hunks=(Hunk(1, 1, lines),),
    )
    return _card({"shop/orders.py": diff})


def wide_card() -> DiffCard:
    """Return a card of FILES changed files."""
    lines = ((LineKind.CONTEXT, "a = 1"), (LineKind.REMOVED, "b = 2"), (LineKind.ADDED, "b = 3"))
    paths = [f"src/opened_{number:06}.py" for number in range(FILES)]
    return _card(
        {
            path: FileDiff(
                path=path, body=Body.TEXT, added=1, removed=1, hunks=(Hunk(1, 1, lines),)
            )
            for path in paths
        }
    )


def _card(diffs: dict[str, FileDiff]) -> DiffCard:
    changes = tuple(text_change(path, "before", "after") for path in sorted(diffs))
    call = ToolCall(call_id="1", tool="shell", arguments={"command": "make release"})
    return card_of(
        Changeset(base="0" * 64, changes=changes),
        tuple(diffs.values()),
        call=call,
        open_for=timedelta(hours=1),
    )


class Floor(App[None]):
    """A plain scroll view of the toolkit."""

    def compose(self) -> ComposeResult:
        """Build the screen."""
        with VerticalScroll():
            yield Static("\n".join(map(line, range(LINES))), markup=False)

    def on_mount(self) -> None:
        """Let keys scroll it."""
        self.query_one(VerticalScroll).focus()


class Bare(App[None]):
    """The card, and nothing beside it."""

    def compose(self) -> ComposeResult:
        """Build the screen."""
        yield CardView(id="card")

    def on_mount(self) -> None:
        """Let keys scroll it."""
        card = self.query_one(CardView)
        card.show(long_card(), Look(color=True, unicode=True))
        card.focus()


def main() -> None:
    """Run the program that is named on the command line."""
    if sys.argv[1] == "floor":
        Floor().run()
    elif sys.argv[1] == "bare":
        Bare().run()
    else:
        small = [
            text_card({f"notes/{number}.txt": ("old", "new")}, open_for=timedelta(hours=1))
            for number in range(QUEUE - 2)
        ]
        app = CliffApp()
        app.attach(Questions([long_card(), wide_card(), *small]))
        app.run()


if __name__ == "__main__":
    main()
