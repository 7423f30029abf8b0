"""The changed lines of a file: numbered, signed, and marked where a line changed in part."""

from array import array
from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from luminaguard.approval.intraline import changed_parts, marked
from luminaguard.approval.look import Ground, Look, Style
from luminaguard.approval.rowlists import Chained, Lazy
from luminaguard.approval.rows import Row, Span, shown
from luminaguard.domain.diff import FileDiff, Hunk, LineKind

LONGEST_RUN = 400
"""Removed or added lines in a row that are compared with each other line by line."""
LONGEST_COLORED = 2_000
"""Characters of a line whose code is colored; a longer line stays plain."""

_SIGN_STYLES = {
    LineKind.ADDED: Style.GREEN,
    LineKind.REMOVED: Style.RED,
    LineKind.CONTEXT: Style.PLAIN,
}
_MARK_STYLES = {LineKind.ADDED: Style.ADDED, LineKind.REMOVED: Style.REMOVED}
_GROUNDS = {
    LineKind.ADDED: Ground.ADDED,
    LineKind.REMOVED: Ground.REMOVED,
    LineKind.CONTEXT: Ground.NONE,
}


def diff_rows(diff: FileDiff, look: Look) -> Sequence[Row]:
    """Return the rows of all hunks, each made when it is looked at."""
    columns = len(str(_last_number(diff))) + (2 if look.columns >= 60 else 0)
    between = Row(((Style.QUIET, look.glyphs.more),), edge=((Style.PLAIN, " " * columns + " "),))
    parts: list[Sequence[Row]] = []
    for hunk in diff.hunks:
        lines = _HunkLines(diff.path, hunk, columns, look)
        parts += [[between]] if parts else []
        parts.append(Lazy(len(hunk.lines), lines.row))
    return Chained(parts)


def _last_number(diff: FileDiff) -> int:
    return max((max(h.old_start, h.new_start) + len(h.lines) for h in diff.hunks), default=1)


class _HunkLines:
    """Makes the row of any line of a hunk."""

    def __init__(self, path: str, hunk: Hunk, columns: int, look: Look) -> None:
        self._path = path
        self._hunk = hunk
        self._columns = columns
        self._look = look
        self._added = _before(hunk, LineKind.ADDED)
        self._removed = _before(hunk, LineKind.REMOVED)
        bar = look.glyphs.bar
        self._hang = ((Style.QUIET, f"{look.glyphs.wrap:>{columns}} {bar}  "),)

    def row(self, index: int) -> Row:
        """Return a line's row: number, sign, text."""
        kind, text = self._hunk.lines[index]
        style = _SIGN_STYLES[kind]
        number = f"{self._number(index, kind):>{self._columns}} {self._look.glyphs.bar}"
        return Row(
            ((style, text),),
            edge=((Style.QUIET, number), (style, f"{kind.value} ")),
            hang=self._hang,
            prose=True,
            paint=partial(self._painted, index),
            ground=_GROUNDS[kind],
        )

    def _number(self, index: int, kind: LineKind) -> int:
        """Return a line's number in the new file, or in the old one if it is gone."""
        if kind is LineKind.REMOVED:
            return self._hunk.old_start + index - self._added[index]
        return self._hunk.new_start + index - self._removed[index]

    def _painted(self, index: int, text: str, look: Look) -> Sequence[Span]:
        kind = self._hunk.lines[index][0]
        if len(text) > LONGEST_COLORED:
            return [(_SIGN_STYLES[kind], text)]
        if look.highlight is None:
            pieces: Sequence[Span] = [(_SIGN_STYLES[kind], text)]
        else:
            pieces = look.highlight(self._path, text)
        other = self._other(index, kind)
        if other is None:
            return pieces
        counterpart = shown(self._hunk.lines[other][1], look)
        if kind is LineKind.REMOVED:
            ranges = changed_parts(text, counterpart)[0]
        else:
            ranges = changed_parts(counterpart, text)[1]
        return list(marked(pieces, ranges, _MARK_STYLES[kind]))

    def _other(self, index: int, kind: LineKind) -> int | None:
        """Return which line this one replaced, or was replaced by; None if there is none."""
        if kind is LineKind.CONTEXT:
            return None
        first = self._run_start(index)
        if kind is LineKind.REMOVED:
            other = self._run_end(index) + index - first
            return other if self._is_one_run(self._run_end(index), other, LineKind.ADDED) else None
        if not first or self._hunk.lines[first - 1][0] is not LineKind.REMOVED:
            return None
        other = self._run_start(first - 1) + index - first
        return other if other < first else None

    def _run_start(self, index: int) -> int:
        kind = self._hunk.lines[index][0]
        lowest = max(0, index - LONGEST_RUN)
        while index > lowest and self._hunk.lines[index - 1][0] is kind:
            index -= 1
        return index

    def _run_end(self, index: int) -> int:
        kind = self._hunk.lines[index][0]
        highest = min(len(self._hunk.lines), index + LONGEST_RUN)
        while index < highest and self._hunk.lines[index][0] is kind:
            index += 1
        return index

    def _is_one_run(self, first: int, last: int, kind: LineKind) -> bool:
        return last < len(self._hunk.lines) and all(
            sign is kind for sign, _ in self._hunk.lines[first : last + 1]
        )


def _before(hunk: Hunk, kind: LineKind) -> "array[int]":
    """Return how many lines of a kind stand before each line."""
    return array("I", accumulate((sign is kind for sign, _ in hunk.lines), initial=0))
