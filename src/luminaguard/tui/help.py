"""What the keys do, and what survives what: the help screen."""

from collections.abc import Iterator

from luminaguard.approval.look import Style
from luminaguard.approval.rows import Row
from luminaguard.tui.strips import plain

_WIDTH = 14

_KEYS = (
    ("Deciding", ()),
    ("a", "approve: exactly what the card shows happens, byte for byte"),
    ("g", "approve and remember: shows first what else would be let through"),
    ("r", "reject: nothing happens; you may say why, and the one who asked is told"),
    ("", "These count only while the mark before them says so: after the card was drawn and"),
    ("", "still for a moment, pressed alone. Clicks, Enter and pasted text never decide."),
    ("", "A critical effect must have been seen to its end, and wants a word typed."),
    ("Looking", ()),
    ("Up Down", "scroll; also PgUp, PgDn, Home, End, space and the wheel"),
    ("] [", "next and previous change"),
    ("} {", "next and previous hunk"),
    ("Enter c", "fold or unfold this change; fold or unfold all"),
    ("/ n N", "search in the card; next and previous match"),
    ("v", "the whole card in your pager"),
    ("Tab", "next question; Shift+Tab the previous one; a click on the queue"),
    ("t", "the story of the session, in full, and back"),
    ("Leaving", ()),
    ("q", "close this screen; open questions stay open"),
    ("Ctrl+C", "interrupt the run that this screen belongs to; else close the screen"),
    ("", "No answer until a question expires means that nothing happens. So does the loss of"),
    ("", "this screen, its terminal or its connection."),
)


def help_rows() -> Iterator[Row]:
    """Yield the help, line by line."""
    for key, text in _KEYS:
        if isinstance(text, str):
            yield Row(
                ((Style.PLAIN, text),),
                edge=((Style.STRONG, f"  {key}".ljust(_WIDTH)),),
                hang=((Style.PLAIN, " " * _WIDTH),),
                prose=True,
            )
        else:
            yield plain(key, Style.CYAN)
    yield plain("")
    yield plain("Any key goes back.", Style.QUIET)


def leave_rows(open_count: int, *, runs_here: bool) -> Iterator[Row]:
    """Yield the question whether to close a screen."""
    if runs_here:
        yield plain("Close the screen? The run goes on without it.", Style.STRONG)
        yield plain("Questions stay open until they expire; `luminaguard tui` shows them again.")
        yield plain("To end the run, press Ctrl+C instead.")
    else:
        yield plain("Close the screen? Nothing is decided by that.", Style.STRONG)
    yield plain(f"Open questions: {open_count:,}")
    yield plain("")
    yield plain("q closes it; any other key goes back.", Style.QUIET)
