"""A run of a section's rows, laid out: the unit in which a card is measured, cached and drawn."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from luminaguard.approval.look import Look
from luminaguard.approval.rows import Fitted, Row, fit


class Block:
    """Some rows at one width. Its lines are numbered from 0."""

    __slots__ = (
        "drawn",
        "fitted",
        "heading_lines",
        "lead",
        "number",
        "section",
        "starts",
        "weight",
    )

    def __init__(
        self, number: int, section: int, lead: Sequence[Row], rows: Sequence[Row], look: Look
    ) -> None:
        """Lay out a section's heading, if it stands in this block, and some of its rows."""
        self.number = number
        self.section = section
        self.lead = len(lead)
        """Rows before the section's own: its heading is row -1, a blank line above it row -2."""
        self.fitted: list[Fitted] = [fit(row, look) for row in (*lead, *rows)]
        self.starts = [0, *accumulate(map(len, self.fitted))]
        self.heading_lines = range(
            self.starts[max(0, len(lead) - 1)], self.starts[len(lead)] if lead else 0
        )
        """Lines of the section's heading, without the blank line before it."""
        self.weight = sum(len(one.text) for one in self.fitted)
        self.drawn: dict[int, object] = {}
        """For whoever draws: line → what was drawn; dropped together with the block."""

    @property
    def height(self) -> int:
        """Number of lines."""
        return self.starts[-1]

    def place(self, line: int) -> tuple[Fitted, int, int]:
        """Return the row that a line belongs to, its number, and which of its lines it is."""
        index = bisect_right(self.starts, line) - 1
        return self.fitted[index], index - self.lead, line - self.starts[index]

    def line_at(self, row: int, offset: int) -> int:
        """Return the line that shows a character of a row, by its offset in the visible text."""
        index = max(0, min(row + self.lead, len(self.fitted) - 1))
        fitted = self.fitted[index]
        part = bisect_right(fitted.ends, offset)
        return self.starts[index] + min(part, len(fitted) - 1)
