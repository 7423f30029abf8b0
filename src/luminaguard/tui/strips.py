"""Foreign text as the toolkit draws it: every such text on the screen comes through here.

Showing control, bidi and invisible characters, and laying text out, is the business of
`approval.rows`; the toolkit gets finished lines. Its markup is never used.
"""

import io
from collections.abc import Iterable

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.style import Style as RichStyle
from rich.text import Text
from textual.strip import Strip

from luminaguard.approval.look import Look, Style
from luminaguard.approval.rows import Row, Span, lay_out, shown

_CONSOLE = Console(file=io.StringIO())
"""Knows no styles of its own; the toolkit's texts ask for one to be rendered."""


def lines_of(rows: Iterable[Row], look: Look) -> list[Text]:
    """Return rows laid out to the look's width, one text for each screen line."""
    decoder = AnsiDecoder()
    return [decoder.decode_line(line) for line in lay_out(rows, look)]


def strip_of(line: Text) -> Strip:
    """Return one screen line as a strip."""
    return Strip(line.render(_CONSOLE))


def cropped(spans: Iterable[Span], look: Look) -> Text:
    """Return spans on one line; how many characters did not fit is told at its end."""
    line = Text(no_wrap=True)
    for style, text in spans:
        line.append(shown(text, look), rich_style(style) if look.color else None)
    if line.cell_len <= look.columns:
        return line
    kept = line.copy()
    mark = ""
    while kept.cell_len + len(mark) > look.columns and kept.plain:
        kept.right_crop(1)
        mark = f"{look.glyphs.more}{len(line.plain) - len(kept.plain)}"
    return kept.append(mark, RichStyle(dim=True))


def plain(text: str, style: Style = Style.PLAIN) -> Row:
    """Return a row of prose without an edge."""
    return Row(((style, text),), edge=(), prose=True)


def rich_style(style: Style) -> RichStyle:
    """Return a style of the card as the toolkit knows it."""
    return _STYLES[style]


def _parsed(style: Style) -> RichStyle:
    """Have the toolkit's own reader of terminal colors read the style's numbers."""
    if not style.value:
        return RichStyle.null()
    found = Text.from_ansi(f"\x1b[{style.value}mx\x1b[0m").spans[0].style
    return found if isinstance(found, RichStyle) else RichStyle.null()


_STYLES = {style: _parsed(style) for style in Style}
