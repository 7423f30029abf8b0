r"""Foreign text made safe to look at: what cannot be seen, or lies, is spelled out.

Everything that comes from a guest, a model, a file or a server goes through here before it meets
a screen. Control characters, bidirectional overrides, zero-width and other invisible characters,
look-alike blanks, private-use and unassigned code points, lone surrogates and undecodable bytes
are shown as what they are; plain printable text of any script stays as it is.

Notation: `\x1b` for ASCII controls (`\n`, `\r`, `\t` by their usual names), `<U+202E>` for other
code points, `<0xFF>` for a byte that is not UTF-8. Nothing is ever left out.

Source: Unicode 15 general categories; UTS 51 (emoji sequences); Trojan Source, CVE-2021-42574;
ECMA-48 §8.3.117 (SGR).
"""

import re
from functools import cache
from unicodedata import category

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_BLANK_LETTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, range(0xFE00, 0xFE0E)))
    + "".join(map(chr, range(0xE0100, 0xE01F0)))
)
"""Printable by category, yet drawn as nothing: fillers and variation selectors. U+FE0E and U+FE0F
are not among them: they are judged by what they follow."""
_MARKS = frozenset({"Mn", "Me"})

_EMOJI = "\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff"
_JOINERS = {
    char: re.compile(pattern)
    for char, pattern in (
        # Outside of an emoji sequence a joiner or a presentation selector is invisible text.
        # The literal comes first, and is looked back over, because that is what finds fast.
        ("\u200d", f"\u200d(?:(?<![{_EMOJI}\ufe0f]\u200d)|(?![{_EMOJI}]))"),
        ("\ufe0e", f"\ufe0e(?<![{_EMOJI}#*0-9]\ufe0e)"),
        ("\ufe0f", f"\ufe0f(?<![{_EMOJI}#*0-9]\ufe0f)"),
    )
}

_MAX_MARKS = 4
"""Combining marks that one letter may carry; writing systems in use need at most that."""

_MALFORMED_ESCAPE = re.compile(r"\x1b(?!\[[0-9;]{0,48}m)")
_COLOR = re.compile(r"\x1b\[[0-9;]{0,48}m")
_MAYBE_CONCEAL = re.compile(r"\x1b\[([0-9;]{0,46}8(?:;[0-9;]{0,46})?)m")
_RESET = "\x1b[0m"

_CACHED_CODES = 20_000


class _Spelling(dict[int, "int | str"]):
    """Code point → what to show, filled as characters are met; for `str.translate`."""

    def __missing__(self, code: int) -> int | str:
        char = chr(code)
        shown = spell(char) if _is_hidden(char) else code
        if len(self) < _CACHED_CODES:  # a text of all code points must not fill the memory
            self[code] = shown
        return shown


def visible(text: str, *, keep_newlines: bool = False, tab: str = "\\t") -> str:
    """Return `text` with everything deceptive or invisible spelled out.

    Args:
        text: Foreign text; may hold lone surrogates.
        keep_newlines: Leave line feeds in place, for text that is shown line by line.
        tab: What a tab is shown as, say an arrow and blanks in a listing.
    """
    if text.isascii() and text.isprintable():
        return text
    return _spelled_in_context(text).translate(_spelling("\n" if keep_newlines else "", tab))


def visible_bytes(content: bytes, *, keep_newlines: bool = False, tab: str = "\\t") -> str:
    """Return bytes as visible text; a byte that is not UTF-8 reads `<0xFF>`."""
    text = content.decode("utf-8", "surrogateescape")
    return visible(text, keep_newlines=keep_newlines, tab=tab)


def sanitize_output(content: bytes) -> str:
    """Return guest output fit for a terminal: text, line ends, tabs and colors; nothing else acts.

    Well-formed `ESC [ digits ; … m` is kept unless it conceals text, and colors are reset at the
    end. A carriage return before a line feed is dropped; any other is spelled out, since it would
    let later text overwrite earlier text.
    """
    text = content.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    if "\x1b" in text:
        text = _MALFORMED_ESCAPE.sub(r"\\x1b", text)
        text = _MAYBE_CONCEAL.sub(_without_conceal, text)
    shown = _spelled_in_context(text).translate(_spelling("\n\x1b", "\t"))
    return shown + _RESET if _COLOR.search(shown) else shown


def spell(char: str) -> str:
    """Return the notation of one character, whether or not it needs one."""
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # how `surrogateescape` carries an undecodable byte
        return f"<0x{code - 0xDC00:02X}>"
    return f"<U+{code:04X}>"


def _is_hidden(char: str) -> bool:
    return (
        not char.isprintable()
        or char in _BLANK_LETTERS
        or (char > "\uffff" and category(char) in _MARKS)
    )


@cache
def _spelling(kept: str, tab: str) -> _Spelling:
    table: dict[int, int | str] = {ord(char): ord(char) for char in (*kept, *_JOINERS)}
    return _Spelling(table | {ord("\t"): tab})


def _spelled_in_context(text: str) -> str:
    """Spell out what is harmless in one place and deceptive in another."""
    if text.isascii():
        return text
    if _marks().one.search(text):
        text = _marks().flood.sub(_spell_all, text)
        text = _marks().leading.sub(_spell_all, text)
    for char, stray in _JOINERS.items():
        text = stray.sub(spell(char), text) if char in text else text
    return text


class _Marks:
    """Patterns over combining marks."""

    def __init__(self) -> None:
        # Only the first 65,536 code points: the regular expression engine tests such a set in
        # constant time, a wider one range by range. The table spells out the marks beyond.
        marks = "".join(chr(code) for code in range(0x300, 0x10000) if _may_combine(chr(code)))
        self.one = re.compile(f"[{marks}]")
        self.flood = re.compile(f"[{marks}]{{{_MAX_MARKS + 1},}}")
        # At the start of a line a mark would land on what the card draws before it.
        self.leading = re.compile(f"(?:\\A|\\n)[{marks}]+")


@cache
def _marks() -> _Marks:
    return _Marks()


def _may_combine(char: str) -> bool:
    return category(char) in _MARKS and char not in _BLANK_LETTERS and char not in _JOINERS


class _SpellAll(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = "\n" if code == 0x0A else spell(chr(code))
        return self[code]


_SPELL_ALL = _SpellAll()


def _spell_all(match: re.Match[str]) -> str:
    run = match.group()
    kept = 0 if run[0] == "\n" or match.start() == 0 else _MAX_MARKS
    return run[:kept] + run[kept:].translate(_SPELL_ALL)


def _without_conceal(match: re.Match[str]) -> str:
    """Keep a color whose number happens to hold an 8; spell out one that hides text."""
    parameters = [part.lstrip("0") for part in match.group(1).split(";")]
    while parameters:
        first = parameters.pop(0)
        if first == "8":
            return "\\x1b" + match.group()[1:]
        if first in {"38", "48", "58"} and parameters:
            del parameters[: 2 if parameters[0] == "5" else 4]
    return match.group()
