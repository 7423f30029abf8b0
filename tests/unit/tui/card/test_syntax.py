"""Code is colored, and no color costs a character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.approval.look import Ground, Style
from luminaguard.tui.card.palette import rich_style
from luminaguard.tui.card.syntax import LONGEST_LINE, highlight


@pytest.mark.parametrize(
    ("path", "text", "word", "style"),
    [
        ("a/b.py", "def total(x): return 3", "def", Style.KEYWORD),
        ("a/b.py", "def total(x): return 3", "total", Style.NAME),
        ("a/b.py", "def total(x): return 3", "3", Style.NUMBER),
        ("x.js", "const a = 'text' // why", "// why", Style.COMMENT),
        ("Dockerfile", "FROM debian", "FROM", Style.KEYWORD),
        ("run.sh", "# comment", "# comment", Style.COMMENT),
    ],
)
def test_words_of_code_are_told_apart(path: str, text: str, word: str, style: Style) -> None:
    assert (style, word) in [(own, part.strip()) for own, part in highlight(path, text)]


@pytest.mark.parametrize("path", ["notes.unknown", "", "\x1b[2J", "LICENSE"])
def test_a_path_that_tells_no_language_leaves_the_text_plain(path: str) -> None:
    assert list(highlight(path, "def x(): 3")) == [(Style.PLAIN, "def x(): 3")]


def test_a_very_long_line_stays_plain() -> None:
    text = "def " * LONGEST_LINE
    assert list(highlight("a.py", text)) == [(Style.PLAIN, text)]


PATHS = st.sampled_from(
    [
        "a.py",
        "a.js",
        "a.html",
        "a.md",
        "a.sh",
        "Makefile",
        "a.json",
        "a.yml",
        "a.c",
        "a.rs",
        "a.toml",
    ]
)


@given(PATHS, st.text(st.characters(exclude_categories=("Cc", "Cs"))) | st.text("\"'`#/*{}()<> ab"))
def test_the_pieces_joined_are_the_text(path: str, text: str) -> None:
    assert "".join(part for _, part in highlight(path, text)) == text


@pytest.mark.parametrize("is_dark", [True, False])
def test_each_style_is_drawn_and_without_colors_only_by_attributes(is_dark: bool) -> None:
    for style in Style:
        for ground in Ground:
            drawn = rich_style(style, ground, is_dark=is_dark, has_colors=True)
            bare = rich_style(style, ground, is_dark=is_dark, has_colors=False)
            assert bare.color is None
            assert bare.bgcolor is None
            assert style in {Style.PLAIN, Style.STRONG, Style.KEY} or drawn.color is not None


def test_what_must_not_be_missed_stands_out_without_colors() -> None:
    for style in (Style.LOW, Style.CRITICAL, Style.KEY, Style.FOUND):
        assert rich_style(style, Ground.NONE, is_dark=True, has_colors=False).reverse
    for style in (Style.ADDED, Style.REMOVED):
        assert rich_style(style, Ground.NONE, is_dark=True, has_colors=False).underline
    assert rich_style(Style.PLAIN, Ground.CURRENT, is_dark=True, has_colors=False).bold
