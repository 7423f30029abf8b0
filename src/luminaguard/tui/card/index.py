"""Where each block of a card stands: heights that may be guessed first and measured later.

A Fenwick tree over the blocks' heights: the line at which a block begins, the block that holds a
line, and a changed height each cost O(log n), also for hundreds of thousands of blocks.

Source: P. Fenwick, A New Data Structure for Cumulative Frequency Tables, 1994.
"""

from array import array
from collections.abc import Sequence


class Heights:
    """Heights in lines, by block, with their running totals."""

    def __init__(self, heights: Sequence[int]) -> None:
        """Take all heights at once, which costs O(n)."""
        self._heights = array("Q", heights)
        self._tree = array("Q", [0, *heights])
        for number in range(1, len(self._tree)):
            above = number + (number & -number)
            if above < len(self._tree):
                self._tree[above] += self._tree[number]
        self._total = sum(heights)
        self._top_bit = 1 << max(0, len(heights).bit_length() - 1)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._heights)

    def __getitem__(self, block: int) -> int:
        """Return a block's height."""
        return self._heights[block]

    def __setitem__(self, block: int, height: int) -> None:
        """Change a block's height."""
        more = height - self._heights[block]
        if not more:
            return
        self._heights[block] = height
        self._total += more
        number = block + 1
        while number < len(self._tree):
            self._tree[number] += more
            number += number & -number

    @property
    def total(self) -> int:
        """Height of all blocks together."""
        return self._total

    def top(self, block: int) -> int:
        """Return the line at which a block begins."""
        found = 0
        while block > 0:
            found += self._tree[block]
            block -= block & -block
        return found

    def find(self, line: int) -> tuple[int, int]:
        """Return the block that holds a line, and the line within it.

        A line beyond the end is taken for the last one; blocks of height 0 hold none.
        """
        left = max(0, min(line, self._total - 1))
        block, step = 0, self._top_bit
        while step:
            ahead = block + step
            if ahead < len(self._tree) and self._tree[ahead] <= left:
                block, left = ahead, left - self._tree[ahead]
            step >>= 1
        return block, left
