"""What changed within a line is marked, and nothing of the line is lost by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.approval.intraline import changed_parts, marked
from luminaguard.approval.look import Style

LINES = st.text(st.sampled_from("ab c_.(é漢1"), max_size=30)


def cut(text: str, parts: tuple[tuple[int, int], ...]) -> list[str]:
    return [text[begin:end] for begin, end in parts]


@pytest.mark.parametrize(
    ("old", "new", "gone", "added"),
    [
        ("price = order.price", "price = order.net_price", [], ["net_"]),
        ("return price * 2", "return price * 30", ["2"], ["30"]),
        ("call(a, b, c)", "call(a, c)", ["b, "], []),
        ("timeout = 10", "timeout = 15", ["0"], ["5"]),
        ("the same", "the same", [], []),
        ("nothing in common", "другая строка", [], []),
        ("x" * 2000, "x" * 2001, [], []),
    ],
)
def test_only_what_differs_is_marked(old: str, new: str, gone: list[str], added: list[str]) -> None:
    before, after = changed_parts(old, new)
    assert (cut(old, before), cut(new, after)) == (gone, added)


@given(LINES, LINES)
def test_what_is_not_marked_is_the_same_in_both_lines(old: str, new: str) -> None:
    before, after = changed_parts(old, new)
    if before or after:
        kept = [
            "".join(part for style, part in marked([(Style.PLAIN, text)], ranges, Style.ADDED)
                    if style is Style.PLAIN)
            for text, ranges in ((old, before), (new, after))
        ]  # fmt: skip
        # Marks may cover blanks between two changes, which need not be the same on both sides.
        assert kept[0].replace(" ", "") == kept[1].replace(" ", "")


RANGES = st.lists(st.integers(0, 40), max_size=8, unique=True).map(
    lambda ends: tuple(zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False))
)


@given(st.lists(st.text("abc", min_size=1, max_size=9), max_size=6), RANGES)
def test_marking_changes_styles_and_no_character(
    texts: list[str], ranges: tuple[tuple[int, int], ...]
) -> None:
    pieces = [(Style.PLAIN, text) for text in texts]
    found = list(marked(pieces, ranges, Style.ADDED))
    whole = "".join(texts)
    assert "".join(text for _, text in found) == whole
    styles = [style for style, text in found for _ in text]
    expected = [
        Style.ADDED if any(a <= at < b for a, b in ranges) else Style.PLAIN
        for at in range(len(whole))
    ]
    assert styles == expected
