"""The three lines around the card: what is looked at, what goes on, which keys there are."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from luminaguard.approval.look import Look, Style
from luminaguard.approval.rows import Span
from luminaguard.tui.board import Board
from luminaguard.tui.queue_view import HURRY_S, clock_text, title_spans


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """Everything that the lines tell."""

    board: Board
    matches: str
    """Which match of a search is looked at; empty without one."""
    unseen: int
    """Changes of which some line was never on the screen."""
    now: datetime
    started_at: datetime
    doing: str
    """What the session does at this moment; empty where no session belongs to the screen."""
    pool: str
    """State of the machines; empty: unknown."""
    cost: str
    """What the run has cost; empty: unknown."""
    notice: str
    is_armed: bool
    runs_here: bool
    """Whether a run ends with Ctrl-C here."""


def head_spans(footing: Footing, look: Look) -> tuple[Span, ...]:
    """Return the first line: which question of how many, and how long it is open."""
    board = footing.board
    entry = board.selected
    if entry is None:
        return ((Style.STRONG, " LuminaGuard "), (Style.QUIET, " nothing to decide"))
    left = entry.left_s(footing.now)
    hurry = Style.WARNING if left < HURRY_S else Style.PLAIN
    unseen = f"{footing.unseen:,} not seen yet  " if footing.unseen else ""
    return (
        (Style.STRONG, f" {board.index + 1} of {len(board.entries):,}  "),
        *title_spans(entry, look),
        (Style.PLAIN, "  "),
        (hurry, f"{clock_text(left)} left  "),
        (Style.STRONG, f"match {footing.matches}  " if footing.matches else ""),
        (Style.QUIET, unseen),
        (Style.QUIET, f"  {entry.pending.origin}"),
    )


def status_spans(footing: Footing, look: Look) -> tuple[Span, ...]:
    """Return the last line but one: a notice, or what goes on."""
    del look
    spans: list[Span] = [(Style.PLAIN, " ")]
    if footing.notice:
        spans.append((Style.YELLOW, f"{footing.notice}  "))
    elif footing.doing:
        spans.append((Style.PLAIN, f"{footing.doing}  "))
    elapsed = (footing.now - footing.started_at).total_seconds()
    spans.append((Style.QUIET, f"{clock_text(elapsed)} elapsed"))
    if footing.pool:
        spans.append((Style.QUIET, f"  {footing.pool}"))
    if footing.cost:
        spans.append((Style.QUIET, f"  {footing.cost}"))
    return tuple(spans)


def key_spans(footing: Footing, look: Look) -> tuple[Span, ...]:
    """Return the last line: the keys, those that decide marked while they count."""
    return tuple(_keys(footing, look))


def _keys(footing: Footing, look: Look) -> Iterator[Span]:
    entry = footing.board.selected
    if entry is not None:
        mark = "ready " if footing.is_armed else "wait  "
        yield (Style.GREEN if footing.is_armed else Style.QUIET, f" {mark}")
        style = Style.KEY if footing.is_armed else Style.QUIET
        words = [("a", "approve"), ("r", "reject")]
        if entry.pending.card.offers:
            words.insert(1, ("g", "remember"))
        for key, word in words:
            yield style, _key(key, look)
            yield Style.PLAIN if footing.is_armed else Style.QUIET, f" {word}  "
        for key, word in (("v", "view all"), ("/", "search"), ("Tab", "next")):
            yield Style.KEY, _key(key, look)
            yield Style.PLAIN, f" {word}  "
    else:
        yield Style.PLAIN, " "
    leave = ("Ctrl+C", "interrupt") if footing.runs_here else ("q", "close")
    for key, word in (("?", "help"), leave):
        yield Style.KEY, _key(key, look)
        yield Style.PLAIN, f" {word}  "


def _key(key: str, look: Look) -> str:
    return f" {key} " if look.color else f"[{key}]"
