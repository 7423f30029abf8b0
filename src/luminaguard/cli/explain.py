"""A verdict in words for people, on a terminal of 80 columns."""

import textwrap
from collections.abc import Iterator, Sequence

from luminaguard.domain.verdict import Lane, Verdict
from luminaguard.domain.visible import visible

WIDTH = 80
_LABEL = 13
_SHOWN_CHARS = 600

_NOTHING = "nothing beyond the machine that it is rehearsed in"


def explanation(command: str, verdict: Verdict, allowed: str = "") -> str:
    """Return what would happen to a call, why, and what would need no question.

    `allowed` says which rule of the user's lets it pass, if one does.
    """
    lines = [*wrapped(_cut(visible(command)), "  ", "    "), ""]
    lines += _row("verdict", (_what_happens(verdict, allowed),))
    lines += _row("risk", (verdict.risk.value,))
    lines += _row("why", (*((allowed,) if allowed else ()), *verdict.reasons))
    lines += _row("rules", (", ".join((verdict.allowed_by, *verdict.rules)).strip(", "),))
    lines += _row("may change", (_listed(verdict.changes) or _changes(verdict),))
    lines += _row("may reach", (_listed(verdict.reaches) or _NOTHING,))
    lines += _row("may read", (_listed(verdict.secrets) or "no secret that its words name",))
    lines += _row("instead", verdict.instead)
    return "\n".join(lines)


def _what_happens(verdict: Verdict, allowed: str) -> str:
    if verdict.lane is Lane.FORBIDDEN:
        return "FORBIDDEN: it never runs"
    if verdict.lane is Lane.GREEN:
        return "GREEN: it runs unasked; if it changed something after all, you are asked"
    if allowed:
        return "GREEN by your own rule: rehearsed, measured, and committed unasked in its bounds"
    if verdict.only_effect_unknown:
        return "RED: it is rehearsed, and you are asked if it changed anything"
    return "RED: it is rehearsed, and you are asked before anything of it gets out"


def _changes(verdict: Verdict) -> str:
    if verdict.lane is Lane.GREEN:
        return "nothing"
    if verdict.lane is Lane.FORBIDDEN:
        return "nothing: it does not run"
    return "whatever the rehearsal measures; you see it before it is kept"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _row(label: str, texts: Sequence[str]) -> Iterator[str]:
    """Yield lines for one label; every text begins on its own line."""
    first = f"  {label}".ljust(_LABEL)
    for text in texts:
        shown = _cut(visible(text))
        yield from wrapped(shown, first, " " * _LABEL)
        first = " " * _LABEL


def wrapped(text: str, first: str, rest: str) -> list[str]:
    """Return lines of at most 80 columns; the first begins with `first`, others with `rest`."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    ) or [first.rstrip()]


def _cut(text: str) -> str:
    more = len(text) - _SHOWN_CHARS
    return text if more <= 0 else f"{text[:_SHOWN_CHARS]}… (+{more} characters)"
