"""How a terminal can show things: its size, whether it has colors, which characters it can draw.

Color is never the only carrier of meaning: every style here has a word or a sign beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from luminaguard.domain.verdict import Risk

MIN_COLUMNS = 20


class Style(StrEnum):
    """How a piece of text looks; the value is its SGR parameters (ECMA-48 §8.3.117)."""

    PLAIN = ""
    STRONG = "1"
    QUIET = "2"
    GREEN = "32"
    RED = "31"
    CYAN = "36"
    WARNING = "1;33"
    KEY = "1;7"
    YELLOW = "33"
    MAGENTA = "35"
    ARGUMENT = "1;35"
    """A word that a call passes on: always beside the call's own label."""
    ADDED = "1;4;32"
    """Characters that are new within a changed line."""
    REMOVED = "1;4;31"
    """Characters that are gone from a changed line."""
    KEYWORD = "34"
    NAME = "36;1"
    STRING = "33;2"
    NUMBER = "35;2"
    COMMENT = "2;3"
    FOUND = "30;43"
    """What a search has found."""
    LOW = "1;30;42"
    MEDIUM = "1;30;43"
    HIGH = "1;97;41"
    CRITICAL = "1;97;45"


class Ground(StrEnum):
    """What a whole line stands for: a tint where there are colors, always beside a sign."""

    NONE = ""
    ADDED = "added"
    REMOVED = "removed"
    CURRENT = "current"
    """The heading of the change that keys act on."""


class Highlight(Protocol):
    """Tells the parts of source code apart. Implemented by the terminal UI."""

    def __call__(self, path: str, text: str) -> Sequence[tuple[Style, str]]:
        """Return a line's pieces, which joined are the text again."""
        ...


BADGES = {
    Risk.LOW: Style.LOW,
    Risk.MEDIUM: Style.MEDIUM,
    Risk.HIGH: Style.HIGH,
    Risk.CRITICAL: Style.CRITICAL,
}
RULES = {
    Risk.LOW: Style.GREEN,
    Risk.MEDIUM: Style.YELLOW,
    Risk.HIGH: Style.RED,
    Risk.CRITICAL: Style.MAGENTA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """Signs that the card is drawn with."""

    heavy: str
    light: str
    bar: str
    """Edge of measured content."""
    guest_bar: str
    """Edge of what only the guest says."""
    predicted_bar: str
    """Edge of what is only predicted."""
    wrap: str
    """Stands in the first column of a continued line."""
    dot: str
    minus: str
    arrow: str
    more: str
    warning: str
    tab: str
    folded: str
    """Before a heading whose details are folded away."""
    unfolded: str
    prose_bar: str
    """Edge of what the model says."""
    risks: Mapping[Risk, str]


UNICODE = Glyphs(
    heavy="━",
    light="─",
    bar="│",
    guest_bar="┊",
    predicted_bar="?",
    wrap="↪",
    dot="·",
    minus="−",  # noqa: RUF001 - the sign that pairs with a plus
    arrow="→",
    more="…",
    warning="▲",
    tab="→   ",
    folded="▸",
    unfolded="▾",
    prose_bar="»",
    risks={Risk.LOW: "🟢", Risk.MEDIUM: "🟡", Risk.HIGH: "🔴", Risk.CRITICAL: "🟣"},
)
ASCII = Glyphs(
    heavy="=",
    light="-",
    bar="|",
    guest_bar=":",
    predicted_bar="?",
    wrap=">",
    dot="-",
    minus="-",
    arrow="->",
    more="...",
    warning="!",
    tab="\\t",
    folded="+",
    unfolded="-",
    prose_bar="~",
    risks={Risk.LOW: "[.]", Risk.MEDIUM: "[!]", Risk.HIGH: "[!!]", Risk.CRITICAL: "[!!!]"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A terminal's size and abilities."""

    columns: int = 80
    rows: int = 24
    color: bool = False
    unicode: bool = False
    highlight: Highlight | None = None
    """Colors source code; None where it stays plain."""

    @property
    def glyphs(self) -> Glyphs:
        """The signs that this terminal can draw."""
        return UNICODE if self.unicode else ASCII

    def paint(self, style: Style, text: str) -> str:
        """Return text in a style; unchanged where there are no colors."""
        if not self.color or not style.value or not text:
            return text
        return f"\x1b[{style.value}m{text}\x1b[0m"


def look_of(environ: Mapping[str, str], *, columns: int, rows: int) -> Look:
    """Return the look of a terminal, as its environment describes it.

    `NO_COLOR` set to anything, or a dumb or unnamed terminal, means no colors; characters beyond
    ASCII are drawn only where the locale is UTF-8.

    Source: no-color.org; POSIX.1-2017 §8.2 (order of the locale variables).
    """
    dumb = environ.get("TERM", "dumb") in {"", "dumb"}
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    utf8 = locale.upper().replace("-", "").endswith("UTF8")
    return Look(
        columns=max(MIN_COLUMNS, columns),
        rows=max(2, rows),
        color=not dumb and not environ.get("NO_COLOR"),
        unicode=not dumb and utf8,
    )
