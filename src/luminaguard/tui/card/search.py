"""Looking for a text in a card: step by step, so that a huge card never holds up the screen."""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from luminaguard.approval.look import Style
from luminaguard.tui.card.document import CardDocument, Place

MOST_MATCHES = 10_000
"""Beyond, it is not looked further; the count says so."""


class Search:
    """The matches of one text, in the card's order. Small letters match capital ones too."""

    def __init__(self, query: str = "", start: Place | None = None) -> None:
        """Take a text, and the place from which the first match is wanted."""
        self._query = query
        self._ignores_case = query == query.lower()
        self._start = (start.block, start.row, start.offset) if start else (0, 0, 0)
        self._found: list[tuple[int, int, int]] = []
        self._by_row: dict[tuple[int, int], list[int]] = {}
        self._next_block = 0
        self._chosen: int | None = None
        self.is_running = bool(query)
        """There is more of the card to look through."""

    def __len__(self) -> int:
        """Return the number of matches that are known."""
        return len(self._found)

    @property
    def current(self) -> Place | None:
        """The match that was gone to last."""
        number = self._number
        return None if number is None else Place(*self._found[number])

    @property
    def count_text(self) -> str:
        """The current match's number and the number of matches, in words for people."""
        if not self._query:
            return ""
        number = self._number
        more = "+" if self.is_running or len(self._found) >= MOST_MATCHES else ""
        return f"{0 if number is None else number + 1:,}/{len(self._found):,}{more}"

    @property
    def _number(self) -> int | None:
        if self._chosen is not None or not self._found:
            return self._chosen
        return bisect_left(self._found, self._start) % len(self._found)

    def run(self, document: CardDocument, is_time_up: Callable[[], bool]) -> None:
        """Look through some more of a card, until time is up."""
        while self.is_running and not is_time_up():
            number = self._next_block
            for row, text in document.texts(number):
                self._look(number, row, text)
            self._next_block += 1
            self.is_running = self._next_block < document.blocks and len(self._found) < MOST_MATCHES

    def _look(self, block: int, row: int, text: str) -> None:
        if self._ignores_case:
            lowered = text.lower()
            text = lowered if len(lowered) == len(text) else text
        at = text.find(self._query)
        while at >= 0 and len(self._found) < MOST_MATCHES:
            self._found.append((block, row, at))
            self._by_row.setdefault((block, row), []).append(at)
            at = text.find(self._query, at + len(self._query))

    def step(self, direction: int) -> bool:
        """Go to the next or the previous match, around the end; return whether there is one."""
        if not self._found:
            return False
        number = self._number or 0
        self._chosen = (number + direction) % len(self._found)
        return True

    def within(self, block: int, row: int) -> Iterator[tuple[int, int, Style]]:
        """Yield the matches in a row: from, up to, and how to draw them."""
        current = self.current
        for at in self._by_row.get((block, row), ()):
            style = Style.KEY if current == Place(block, row, at) else Style.FOUND
            yield at, at + len(self._query), style
