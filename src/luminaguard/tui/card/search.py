"""Looking for a text in a card: step by step, so that a huge card never holds up the screen."""

from collections.abc import Callable, Iterator

from luminaguard.approval.look import Style
from luminaguard.tui.card.document import CardDocument, Place

MOST_MATCHES = 10_000
"""Beyond, it is not looked further; the count says so."""


class Search:
    """The matches of one text, from a place on to the card's end, then from its beginning.

    Small letters match capital ones too.
    """

    def __init__(self, query: str = "", start: Place | None = None) -> None:
        """Take a text, and the place from which the first match is wanted."""
        self._query = query
        self._ignores_case = query == query.lower()
        self._start = start or Place(0, -1)
        self._ahead: list[Place] = []
        self._behind: list[Place] = []
        self._by_row: dict[tuple[int, int], list[int]] = {}
        self._done_blocks = 0
        self._chosen = 0
        self.is_running = bool(query)
        """There is more of the card to look through."""

    def __len__(self) -> int:
        """Return the number of matches that are known."""
        return len(self._ahead) + len(self._behind)

    @property
    def current(self) -> Place | None:
        """The match that was gone to last: at first the one from the starting place on."""
        if self._chosen < len(self._ahead):
            return self._ahead[self._chosen]
        behind = self._chosen - len(self._ahead)
        return self._behind[behind] if behind < len(self._behind) else None

    @property
    def count_text(self) -> str:
        """The current match's number in the card's order, and the number of matches: "3/17"."""
        if not self._query:
            return ""
        number = (self._chosen + len(self._behind)) % max(1, len(self)) + bool(len(self))
        more = "+" if self.is_running or len(self) >= MOST_MATCHES else ""
        return f"{number:,}/{len(self):,}{more}"

    def run(self, document: CardDocument, is_time_up: Callable[[], bool]) -> None:
        """Look through some more of a card, until time is up."""
        while self.is_running and not is_time_up():
            self._look_through(document, (self._start.block + self._done_blocks) % document.blocks)
            self._done_blocks += 1
            self.is_running = self._done_blocks <= document.blocks and len(self) < MOST_MATCHES

    def _look_through(self, document: CardDocument, block: int) -> None:
        is_last = self._done_blocks == document.blocks
        for row, text in document.texts(block):
            for at in self._offsets(text):
                place = Place(block, row, at)
                is_ahead = block > self._start.block or (
                    block == self._start.block
                    and (row, at) >= (self._start.row, self._start.offset)
                )
                # The starting block is looked through twice: first from the start on, at the end
                # up to it.
                if block == self._start.block and is_ahead == is_last:
                    continue
                (self._ahead if is_ahead else self._behind).append(place)
                self._by_row.setdefault((block, row), []).append(at)

    def _offsets(self, text: str) -> Iterator[int]:
        if self._ignores_case:
            lowered = text.lower()
            text = lowered if len(lowered) == len(text) else text
        at = text.find(self._query)
        while at >= 0:
            yield at
            at = text.find(self._query, at + len(self._query))

    def step(self, direction: int) -> bool:
        """Go to the next or the previous match, around the end; return whether there is one."""
        if len(self):
            self._chosen = (self._chosen + direction) % len(self)
        return bool(len(self))

    def within(self, block: int, row: int) -> Iterator[tuple[int, int, Style]]:
        """Yield the matches in a row: from, up to, and how to draw them."""
        for at in self._by_row.get((block, row), ()):
            style = Style.KEY if self.current == Place(block, row, at) else Style.FOUND
            yield at, at + len(self._query), style
