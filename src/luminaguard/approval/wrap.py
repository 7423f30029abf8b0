"""Where lines end: how wide a visible text is, and where to break it.

Widths are upper bounds: a terminal may draw some text narrower, none wider, so no line that is
laid out here flows over into the next one. A break drops no character, blanks included.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from re import compile as pattern
from unicodedata import category, east_asian_width

_NOT_NARROW = pattern("[^\x20-\u02ff\u0370-\u0482\u048a-\u0590]")
_NEWLY_WIDE = frozenset(
    chr(code)
    for first, last in (
        (0x2630, 0x2637),
        (0x268A, 0x268F),
        (0x4DC0, 0x4DFF),
        (0x1D300, 0x1D356),
        (0x1D360, 0x1D376),
    )
    for code in range(first, last + 1)
)
"""Two columns since Unicode 16, which Python's own tables do not know yet."""
_CACHED_CODES = 20_000
_LEAST_PART = 4
"""A line is broken after a blank only if at least 1/4 of the room is used then."""


class _Widths(dict[str, int]):
    """Character → columns, filled as characters are met."""

    def __missing__(self, char: str) -> int:
        columns = _char_width(char)
        if len(self) < _CACHED_CODES:  # a text of all code points must not fill the memory
            self[char] = columns
        return columns


_WIDTHS = _Widths()


def width(text: str) -> int:
    """Return how many columns a visible text takes at most.

    Source: UAX 11 (East Asian Width); joined emoji count each part, as some terminals draw them.
    """
    if not _NOT_NARROW.search(text):
        return len(text)
    return sum(map(_WIDTHS.__getitem__, text))


def line_ends(text: str, room: int, *, prose: bool) -> Iterator[int]:
    """Yield where each line of a visible text ends; the last end is the text's own.

    Args:
        text: Text without line feeds; an empty one is one empty line.
        room: Columns of each line, at least 2.
        prose: Break after blanks where possible; otherwise at the last column.
    """
    ends = _mixed_ends if _NOT_NARROW.search(text) else _narrow_ends
    return ends(text, room, prose=prose)


def _char_width(char: str) -> int:
    if char < "\u0300":
        return 1
    if category(char) in {"Mn", "Me"} or char == "\u200d":
        return 1 if char == "\ufe0f" else 0  # makes the emoji before it two columns wide
    return 2 if east_asian_width(char) in "WF" or char in _NEWLY_WIDE else 1


def _narrow_ends(text: str, room: int, *, prose: bool) -> Iterator[int]:
    start, size = 0, len(text)
    while size - start > room:
        end = start + room
        if prose:
            end = _after_blank(text, start, end)
        yield end
        start = end
    yield size


def _mixed_ends(text: str, room: int, *, prose: bool) -> Iterator[int]:
    start, size = 0, len(text)
    while start < size:
        end = _fitting(text, start, room)
        if prose and end < size:
            end = _after_blank(text, start, end)
        yield end
        start = end


def _fitting(text: str, start: int, room: int) -> int:
    """Return where the part of `text` from `start` ends that fits into `room` columns."""
    used, at = 0, start
    while at < len(text):
        window = text[at : at + room + 1]
        reach = list(accumulate(map(_WIDTHS.__getitem__, window), initial=used))
        fits = bisect_right(reach, room) - 1
        if fits < len(window):
            return max(at + fits, start + 1)
        used, at = reach[-1], at + len(window)
    return len(text)


def _after_blank(text: str, start: int, end: int) -> int:
    """Return where to break at `end` or before: after a blank, if one stands far enough on."""
    blank = text.rfind(" ", start + (end - start) // _LEAST_PART, end)
    if blank < 0 or text[start:blank].isspace():  # an indentation alone is no line
        return end
    return blank + 1
