"""The card's styles in the toolkit's terms, with tints where there are colors."""

from collections.abc import Mapping
from functools import cache

from rich.color import Color
from rich.style import Style as RichStyle
from rich.terminal_theme import TerminalTheme

from luminaguard.approval.look import Ground, Style

_DARK = {
    Ground.ADDED: "#12261a",
    Ground.REMOVED: "#2d1517",
    Ground.CURRENT: "#2b3245",
}
_LIGHT = {
    Ground.ADDED: "#dff5e3",
    Ground.REMOVED: "#fbe3e4",
    Ground.CURRENT: "#d5def5",
}
_INK_DARK: Mapping[Style, str] = {
    Style.GREEN: "#4cc46b",
    Style.RED: "#f2686b",
    Style.CYAN: "#4fc1d9",
    Style.YELLOW: "#d9b13b",
    Style.WARNING: "bold #f0c040",
    Style.MAGENTA: "#d183e8",
    Style.ARGUMENT: "bold #d183e8",
    Style.QUIET: "#8b93a1",
    Style.ADDED: "bold underline #e6ffec on #1f6b36",
    Style.REMOVED: "bold underline #ffebe9 on #8e2a30",
    Style.KEYWORD: "#79a8ff",
    Style.NAME: "#5ccfe6",
    Style.STRING: "#d6c287",
    Style.NUMBER: "#c9a0f0",
    Style.COMMENT: "italic #8b93a1",
    Style.LOW: "bold #000000 on #3fae5c",
    Style.MEDIUM: "bold #000000 on #d9b13b",
    Style.HIGH: "bold #ffffff on #c0353a",
    Style.CRITICAL: "bold #ffffff on #a83bc4",
    Style.FOUND: "#000000 on #d9b13b",
}
_INK_LIGHT: Mapping[Style, str] = _INK_DARK | {
    Style.GREEN: "#116329",
    Style.RED: "#a40e26",
    Style.CYAN: "#0b6b80",
    Style.YELLOW: "#7d5b00",
    Style.WARNING: "bold #7d4e00",
    Style.MAGENTA: "#7a2a9c",
    Style.ARGUMENT: "bold #7a2a9c",
    Style.QUIET: "#5b6470",
    Style.ADDED: "bold underline #04260f on #8fe3a5",
    Style.REMOVED: "bold underline #3d0009 on #ffb3b8",
    Style.KEYWORD: "#0b4bb3",
    Style.NAME: "#0b6b80",
    Style.STRING: "#6b5300",
    Style.NUMBER: "#6c2fa8",
    Style.COMMENT: "italic #5b6470",
}


@cache
def rich_style(style: Style, ground: Ground, *, is_dark: bool, has_colors: bool) -> RichStyle:
    """Return how a piece of text is drawn; without colors by weight and underline only."""
    if not has_colors:
        return _attributes(style, ground)
    inks = _INK_DARK if is_dark else _INK_LIGHT
    drawn = RichStyle.parse(inks[style]) if style in inks else _attributes(style, Ground.NONE)
    tint = (_DARK if is_dark else _LIGHT).get(ground)
    if tint is None:
        return drawn
    return RichStyle(bgcolor=Color.parse(tint)) + drawn


def _attributes(style: Style, ground: Ground) -> RichStyle:
    numbers = set(style.value.split(";"))
    is_badge = any(number.startswith("4") and len(number) == 2 for number in numbers)
    return RichStyle(
        bold="1" in numbers or ground is Ground.CURRENT or None,
        dim="2" in numbers or None,
        italic="3" in numbers or None,
        underline="4" in numbers or None,
        reverse="7" in numbers or is_badge or None,
    )


def terminal_theme(*, is_dark: bool) -> TerminalTheme:
    """Return what the terminal's eight colors are drawn as around the card: the card's own inks.

    The toolkit's usual theme draws red and magenta, high and critical, almost alike.
    """
    inks = _INK_DARK if is_dark else _INK_LIGHT
    named = [
        _triplet(inks[style])
        for style in (Style.RED, Style.GREEN, Style.YELLOW, Style.NAME, Style.MAGENTA, Style.CYAN)
    ]
    black, white = (0, 0, 0), (255, 255, 255)
    ground, ink = ((18, 18, 18), (217, 217, 217)) if is_dark else ((247, 247, 247), (40, 40, 40))
    gray = _triplet(inks[Style.QUIET])
    return TerminalTheme(ground, ink, [black, *named, ink], [gray, *named, white])


def _triplet(ink: str) -> tuple[int, int, int]:
    return Color.parse(ink.rsplit(maxsplit=1)[-1]).get_truecolor()
