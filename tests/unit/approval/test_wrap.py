"""Where lines end: nothing wider than the room, nothing lost, words kept together."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.approval.wrap import line_ends, width
from luminaguard.domain.visible import visible

TEXTS = st.text(st.characters(codec="utf-8")) | st.text(
    st.sampled_from("ab  漢字é\u0301\u200d👩🏽\ufe0f☰कि\t")
)


def lines(text: str, room: int, *, prose: bool = True) -> list[str]:
    starts = 0
    found: list[str] = []
    for end in line_ends(text, room, prose=prose):
        found.append(text[starts:end])
        starts = end
    return found


@given(TEXTS, st.integers(2, 60), st.booleans())
def test_lines_joined_are_the_text_and_none_is_wider_than_its_room(
    text: str, room: int, prose: bool
) -> None:
    text = visible(text)
    found = lines(text, room, prose=prose)
    assert "".join(found) == text
    assert all(width(line) <= room for line in found)
    assert all(found) or not text


@given(TEXTS, st.integers(2, 60))
def test_without_words_to_keep_each_line_is_as_full_as_can_be(text: str, room: int) -> None:
    text = visible(text)
    found = lines(text, room, prose=False)
    for line, following in pairwise(found):
        assert width(line) + width(following[0]) > room


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("one two three", 8, ["one two ", "three"]),
        ("one two", 7, ["one two"]),
        ("a longerthanaline", 8, ["a longer", "thanalin", "e"]),
        ("    indented words stay", 12, ["    indented", " words stay"]),
        ("漢字 漢字", 6, ["漢字 ", "漢字"]),
        ("", 5, [""]),
    ],
)
def test_lines_break_after_blanks_where_enough_stands_before_them(
    text: str, room: int, expected: list[str]
) -> None:
    assert lines(text, room) == expected


@given(TEXTS)
def test_no_text_is_drawn_wider_by_the_toolkit_than_it_is_taken_for(text: str) -> None:
    from rich.cells import cell_len

    shown = visible(text)
    assert cell_len(shown) <= width(shown)


def test_a_megabyte_in_one_line_is_wrapped_without_loss() -> None:
    for unit in ("word ", "漢字 ", "x"):
        text = unit * (1_000_000 // len(unit))
        ends = list(line_ends(text, 80, prose=True))
        assert ends[-1] == len(text)
        assert ends == sorted(set(ends))
