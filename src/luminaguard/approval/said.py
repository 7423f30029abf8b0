"""The parts of a card that are not measured: predictions, the guest's words, the model's words."""

from collections.abc import Iterator, Sequence
from functools import partial

from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Look, Style
from luminaguard.approval.rowlists import Chained, Lazy
from luminaguard.approval.rows import Row
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.grant import GrantScope

TAIL_LINES = 10
"""Last lines of stdout and of stderr that are shown in a first look."""

PREDICTED = "predicted, NOT measured: this would leave the machine"
GUEST = "the guest says (nobody verified it)"
PROSE = "the model says about its call (untrusted: check it against what is measured)"
OFFERS = "what you could have remembered with a yes"

_SCOPES = {
    GrantScope.EXACT: "this very call",
    GrantScope.SESSION: "for this session",
    GrantScope.PATTERN: "for calls like this one",
}


def predicted_rows(card: DiffCard, look: Look) -> Sequence[Row]:
    """Return the effects that could not be measured, behind an edge of their own."""
    edge = ((Style.YELLOW, f"   {look.glyphs.predicted_bar} "),)
    return [Row(((Style.PLAIN, line),), edge=edge, prose=True) for line in card.predicted]


def prose_rows(card: DiffCard, look: Look) -> Sequence[Row]:
    """Return what the model says, behind an edge of its own."""
    edge = ((Style.WARNING, f"   {look.glyphs.prose_bar} "),)
    return [Row(((Style.PLAIN, line),), edge=edge, prose=True) for line in _lines(card.prose)]


def offer_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    """Yield the ways to remember a yes, each with what it would also let through."""
    for offer in card.offers:
        words = ((Style.STRONG, f"{_SCOPES[offer.scope]}: "), (Style.PLAIN, offer.covers))
        hang = ((Style.PLAIN, "     "),)
        yield Row(words, edge=((Style.PLAIN, f"   {look.glyphs.dot} "),), hang=hang, prose=True)
        for example in offer.also:
            yield Row(
                ((Style.QUIET, "would also let through "), (Style.ARGUMENT, example)),
                edge=((Style.QUIET, f"     {look.glyphs.arrow} "),),
                hang=((Style.QUIET, f"     {look.glyphs.wrap} "),),
                prose=True,
            )


def guest_rows(card: DiffCard, look: Look, *, everything: bool) -> Sequence[Row]:
    """Return exit code, output and leftover processes, behind an edge of their own."""
    report = card.report
    if report is None:
        return []
    first = [_row(_ending(report), look)]
    if report.leftover:
        first.append(_row(f"left running, killed since: {', '.join(report.leftover)}", look))
    parts: list[Sequence[Row]] = [first]
    for name, output, dropped in (
        ("stdout", report.stdout, report.stdout_dropped_bytes),
        ("stderr", report.stderr, report.stderr_dropped_bytes),
    ):
        parts += _output_rows(name, output, dropped, look, everything=everything)
    return Chained(parts)


def _ending(report: GuestReport) -> str:
    words = {
        Ended.EXITED: f"exit code {report.exit_code}",
        Ended.SIGNALED: f"killed by signal {report.signal}, exit code {report.exit_code}",
        Ended.TIMED_OUT: f"timed out, exit code {report.exit_code}",
        Ended.NOT_STARTED: f"could not be started, exit code {report.exit_code}",
    }
    return f"{words[report.ended]}; took {report.duration_s:.1f} s"


def _output_rows(
    name: str, output: bytes, dropped: int, look: Look, *, everything: bool
) -> Iterator[Sequence[Row]]:
    if not output and not dropped:
        return
    lines = _lines(output.decode("utf-8", "surrogateescape"))
    first = 0 if everything else max(0, len(lines) - TAIL_LINES)
    count = "1 line" if len(lines) == 1 else f"{len(lines):,} lines"
    yield [_row(f"{name}, {count}, {len(output):,} bytes:", look)]
    if first:
        more = f"{look.glyphs.more} {first:,} lines before: press v to view all"
        yield [Row(((Style.YELLOW, more),), edge=((Style.PLAIN, "   "),))]
    yield Lazy(len(lines) - first, partial(_line_row, lines, first, look))
    if dropped:
        yield [_row(f"{dropped:,} further bytes of {name} were not kept", look)]


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _line_row(lines: list[str], first: int, look: Look, number: int) -> Row:
    edge = ((Style.QUIET, f"   {look.glyphs.guest_bar} "),)
    return Row(((Style.PLAIN, lines[first + number]),), edge=edge, prose=True)


def _row(text: str, look: Look) -> Row:
    edge = ((Style.QUIET, f"   {look.glyphs.guest_bar} "),)
    return Row(((Style.QUIET, text),), edge=edge, prose=True)
