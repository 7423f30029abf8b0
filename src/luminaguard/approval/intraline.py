"""What changed within a changed line, character by character."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from luminaguard.approval.look import Style
from luminaguard.approval.rows import Span

Ranges = tuple[tuple[int, int], ...]
"""Parts of a text: from, up to; sorted, apart from each other."""

LONGEST_LINE = 1_000
"""Characters of lines that are compared; a longer pair is shown without marks."""
MOST_COMPARED = 4_000
"""Words of one line times words of the other; beyond, only common ends are taken off."""
MOST_CHANGED = 0.7
"""Share of a line's characters; if more of it changed, it is another line, not a changed one."""

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@lru_cache(maxsize=1024)
def changed_parts(old: str, new: str) -> tuple[Ranges, Ranges]:
    """Return which parts of an old and a new line differ; nothing if they have little in common."""
    if max(len(old), len(new)) > LONGEST_LINE or old == new:
        return (), ()
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    olds: list[tuple[int, int]] = []
    news: list[tuple[int, int]] = []
    for old_part, new_part in _replaced(before, after):
        trimmed = _without_common_ends(old, old_part, new, new_part)
        _append(olds, trimmed[0], old)
        _append(news, trimmed[1], new)
    if _is_too_much(olds, old) or _is_too_much(news, new):
        return (), ()
    return tuple(olds), tuple(news)


def marked(pieces: Sequence[Span], ranges: Ranges, style: Style) -> Iterator[Span]:
    """Yield pieces with some parts of their joined text in another style."""
    at = 0
    pending = iter(ranges)
    begin, end = next(pending, (-1, -1))
    for own, text in pieces:
        done = 0
        while begin >= 0 and begin - at < len(text):
            first, last = max(done, begin - at), min(len(text), end - at)
            if first > done:
                yield own, text[done:first]
            yield style, text[first:last]
            done = last
            if end - at > len(text):
                break
            begin, end = next(pending, (-1, -1))
        if done < len(text):
            yield own, text[done:]
        at += len(text)


def _replaced(
    before: list[str], after: list[str]
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield which characters were replaced by which, compared word by word."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    start = sum(map(len, before[:head]))
    if len(old) * len(new) > MOST_COMPARED:
        yield _characters(old, start, (0, len(old))), _characters(new, start, (0, len(new)))
        return
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if tag != "equal":
            yield (
                _characters(old, start, (old_from, old_to)),
                _characters(new, start, (new_from, new_to)),
            )


def _characters(words: list[str], at: int, part: tuple[int, int]) -> tuple[int, int]:
    """Return a range of words as a range of characters."""
    begin = at + sum(map(len, words[: part[0]]))
    return begin, begin + sum(map(len, words[part[0] : part[1]]))


def _without_common_ends(
    old: str, old_part: tuple[int, int], new: str, new_part: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    (old_from, old_to), (new_from, new_to) = old_part, new_part
    while old_from < old_to and new_from < new_to and old[old_from] == new[new_from]:
        old_from, new_from = old_from + 1, new_from + 1
    while old_from < old_to and new_from < new_to and old[old_to - 1] == new[new_to - 1]:
        old_to, new_to = old_to - 1, new_to - 1
    return (old_from, old_to), (new_from, new_to)


def _append(ranges: list[tuple[int, int]], part: tuple[int, int], text: str) -> None:
    begin, end = part
    if begin == end:
        return
    if ranges and not text[ranges[-1][1] : begin].strip():  # one mark across blanks, not two
        begin = ranges.pop()[0]
    ranges.append((begin, end))


def _is_too_much(ranges: list[tuple[int, int]], text: str) -> bool:
    return sum(end - begin for begin, end in ranges) > MOST_CHANGED * max(1, len(text.strip()))
