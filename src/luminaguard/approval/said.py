"""The parts of a card that are not measured: what is predicted, and what only the guest says."""

from collections.abc import Iterator

from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Look, Style
from luminaguard.approval.rows import Row
from luminaguard.domain.execution import Ended, GuestReport

TAIL_LINES = 10
"""Last lines of stdout and of stderr that are shown unless everything is viewed."""


def predicted_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    """Yield the effects that could not be measured, fenced off from those that were."""
    if not card.predicted:
        return
    yield from _heading(
        "predicted, NOT measured: this would leave the machine", look, Style.WARNING
    )
    edge = ((Style.YELLOW, f"   {look.glyphs.predicted_bar} "),)
    for line in card.predicted:
        yield Row(((Style.PLAIN, line),), edge=edge)


def said_rows(card: DiffCard, look: Look, *, everything: bool) -> Iterator[Row]:
    """Yield exit code, output and leftover processes, labelled as the guest's own words."""
    report = card.report
    if report is None:
        return
    yield from _heading("the guest says (nobody verified it)", look, Style.QUIET)
    yield _row(_ending(report), look)
    if report.leftover:
        yield _row(f"left running, killed since: {', '.join(report.leftover)}", look)
    yield from _output_rows(
        "stdout", report.stdout, report.stdout_dropped_bytes, look, everything=everything
    )
    yield from _output_rows(
        "stderr", report.stderr, report.stderr_dropped_bytes, look, everything=everything
    )


def _heading(text: str, look: Look, style: Style) -> Iterator[Row]:
    yield Row((), edge=())
    yield Row(((style, text),), edge=((Style.QUIET, look.glyphs.light * 2 + " "),))


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
) -> Iterator[Row]:
    if not output and not dropped:
        return
    text = output.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    lines = text.removesuffix("\n").split("\n")
    first = 0 if everything else max(0, len(lines) - TAIL_LINES)
    count = "1 line" if len(lines) == 1 else f"{len(lines):,} lines"
    yield _row(f"{name}, {count}, {len(output):,} bytes:", look)
    if first:
        more = f"{look.glyphs.more} {first:,} lines before: press v to view all"
        yield Row(((Style.YELLOW, more),), edge=((Style.PLAIN, "   "),))
    for line in lines[first:]:
        yield Row(((Style.PLAIN, line),), edge=((Style.QUIET, f"   {look.glyphs.guest_bar} "),))
    if dropped:
        yield _row(f"{dropped:,} further bytes of {name} were not kept", look)


def _row(text: str, look: Look) -> Row:
    return Row(((Style.QUIET, text),), edge=((Style.QUIET, f"   {look.glyphs.guest_bar} "),))
