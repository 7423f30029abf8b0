"""Long lists of rows, of which only those that are looked at are ever made."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import overload

from luminaguard.approval.rows import Row


class Lazy(Sequence[Row]):
    """Rows that are made one by one, by their number."""

    def __init__(self, length: int, make: Callable[[int], Row]) -> None:
        """Take the number of rows, and what makes one of them."""
        self._length = length
        self._make = make

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._length

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        """Return a row, or some of them."""
        if isinstance(index, slice):
            return [self._make(number) for number in range(*index.indices(self._length))]
        return self._make(range(self._length)[index])


class Chained(Sequence[Row]):
    """Several lists of rows, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Row]]) -> None:
        """Take the lists; they must not change afterwards."""
        self._parts = [part for part in parts if part]
        self._firsts = [0, *accumulate(len(part) for part in self._parts)]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._firsts[-1]

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        """Return a row, or some of them."""
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return list(self._between(first, last))
        number = range(len(self))[index]
        part = bisect_right(self._firsts, number) - 1
        return self._parts[part][number - self._firsts[part]]

    def _between(self, first: int, last: int) -> Iterator[Row]:
        number = bisect_right(self._firsts, first) - 1
        for part, start in zip(self._parts[number:], self._firsts[number:], strict=False):
            if start >= last:
                return
            yield from part[max(0, first - start) : last - start]
