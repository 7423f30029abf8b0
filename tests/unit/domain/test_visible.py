"""Foreign text on a screen: nothing hidden, nothing that acts, nothing left out."""

import re
import sys
import time
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.domain.visible import sanitize_output, visible, visible_bytes

pytestmark = pytest.mark.guarantee("G9")

FOREIGN = st.text(st.characters())  # lone surrogates and unassigned code points included
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
DECEPTIVE = re.compile(f"[\x00-\x1f\x7f-\x9f{BIDI}\u200b\u200c\u2028\u2029\ufeff\ud800-\udfff]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("safe\u202etxt.exe", "safe<U+202E>txt.exe"),
        ("a\u200bb\u2060c\ufeff", "a<U+200B>b<U+2060>c<U+FEFF>"),
        ("a\tb\r\nc\x7f", r"a\tb\r\nc\x7f"),
        ("\x9b31m", "<U+009B>31m"),
        ("name\udcff", "name<0xFF>"),
        ("\ud800", "<U+D800>"),
        ("\ue000\u0378\U000e0041", "<U+E000><U+0378><U+E0041>"),
        ("no\u00a0break\u3000", "no<U+00A0>break<U+3000>"),
        ("\u3164\u115f\u2800", "<U+3164><U+115F><U+2800>"),
        ("a\u2028b", "a<U+2028>b"),
        ("a\u200db \u200d", "a<U+200D>b <U+200D>"),
        ("a\ufe0f", "a<U+FE0F>"),
        ("\u0301x", "<U+0301>x"),
        ("a\n\u0301x", r"a\n<U+0301>x"),
        ("e" + "\u0301" * 6, "e" + "\u0301" * 4 + "<U+0301><U+0301>"),
        ("\U0001e944", "<U+1E944>"),
    ],
)
def test_what_hides_or_acts_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "漢字かな한글",
        "e\u0301a\u0300",
        "Việt ไทย हिन्दी עברית",
        "👩\u200d💻 ❤\ufe0f 1\ufe0f\u20e3 🇩🇪",
    ],
)
def test_plain_text_of_any_script_stays(text: str) -> None:
    assert visible(text) == text


def test_line_feeds_and_tabs_are_kept_only_where_asked_for() -> None:
    assert visible("a\tb\nc\rd", keep_newlines=True, tab="→  ") == "a→  b\nc\\rd"


def test_bytes_that_are_no_text_read_as_their_value() -> None:
    assert visible_bytes(b"caf\xc3\xa9 \xff\x00") == r"café <0xFF>\x00"


@given(FOREIGN)
def test_no_text_whatever_shows_a_character_that_hides_or_acts(text: str) -> None:
    shown = visible(text, keep_newlines=True)
    assert not DECEPTIVE.search(shown.replace("\n", ""))
    assert all(char == "\n" or char.isprintable() or char == "\u200d" for char in shown)
    assert "\n" not in visible(text)
    shown.encode("utf-8")


@given(st.text(st.sampled_from("a\n\u0301\u200d\ufe0f😀\u202e\x1b[38;m\t\\")))
def test_nothing_is_left_out(text: str) -> None:
    spelled = re.compile(r"<U\+([0-9A-F]{4,6})>|\\x([0-9a-f]{2})|\\([nt])")

    def read(found: re.Match[str]) -> str:
        code, byte, named = found.groups()
        return chr(int(code or byte, 16)) if not named else {"n": "\n", "t": "\t"}[named]

    text = text.replace("\\", "")  # a literal backslash would be ambiguous to read back
    assert spelled.sub(read, visible(text)) == text


def test_every_code_point_that_python_calls_unprintable_is_spelled_out() -> None:
    text = "".join("a" + chr(code) for code in range(sys.maxunicode + 1))
    shown = visible(text)
    assert {char for char in shown if category(char)[0] in "CZ"} <= {" "}


@given(FOREIGN)
def test_a_visible_text_is_already_visible(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
        (b"\x1b[38;5;8mgrey", "\x1b[38;5;8mgrey\x1b[0m"),
        (b"\x1b[38;2;8;8;8mgrey", "\x1b[38;2;8;8;8mgrey\x1b[0m"),
        (b"\x1b[8mhidden", r"\x1b[8mhidden"),
        (b"\x1b[1;08mhidden", r"\x1b[1;08mhidden"),
        (b"\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
        (b"\x1bP+q\x1b\\", r"\x1bP+q\x1b" + "\\"),
        (b"\xc2\x9b31m\x9b31m", "<U+009B>31m<0x9B>31m"),
        (b"a\r\nb\rc\td\b", "a\nb\\rc\td\\x08"),
        (b"\x1b[" + b"1;" * 99 + b"m", r"\x1b[" + "1;" * 99 + "m"),
    ],
)
def test_guest_output_keeps_its_colors_and_nothing_else_that_acts(
    output: bytes, shown: str
) -> None:
    assert sanitize_output(output) == shown


@given(st.binary() | st.text(st.sampled_from("\x1b[]0158;:mHJ\r\n\x07")).map(str.encode))
def test_no_output_reaches_a_terminal_with_more_than_colors(output: bytes) -> None:
    shown = sanitize_output(output)
    without_colors = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not DECEPTIVE.search(without_colors.replace("\n", "").replace("\t", ""))


@pytest.mark.parametrize(
    "flood",
    ["hello world\n", "\x01\x02a\tbcd\n", "漢字 é\n", "\u0301", "a\u200d", "\x1b[8m", "\x1b"],
)
def test_a_flood_costs_time_in_proportion_not_more(flood: str) -> None:
    """Compares against a tenth of the size, so that a slow machine does not decide."""

    def seconds(size: int) -> float:
        text = flood * (size // len(flood.encode()))
        started = time.perf_counter()
        visible(text, keep_newlines=True)
        sanitize_output(text.encode())
        return time.perf_counter() - started

    small = min(seconds(300_000) for _ in range(3))
    assert seconds(3_000_000) < max(40 * small, 0.5)
