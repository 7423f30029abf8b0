"""The report as people read it: at most 80 columns, the verdict in words, color only on top."""

import textwrap
from collections.abc import Callable, Iterator

from luminaguard.doctor.attack import Result, Verdict, Where
from luminaguard.doctor.layers import how_to_get
from luminaguard.doctor.report import Report, Row
from luminaguard.domain.isolation import Tier

COLUMNS = 80
_TITLES = {
    Where.INSIDE: "In the guest: tried by a command",
    Where.VMM: "Around QEMU: tried from its place on the host",
    Where.LIFECYCLE: "Over the life of machines",
}
_WIDEST = max(len(verdict) for verdict in Verdict)

Paint = Callable[[Verdict, str], str]
"""Colors a text by a verdict, or leaves it as it is."""


def table(report: Report, paint: Paint, *, verbose: bool = False) -> Iterator[str]:
    """Yield the lines of the report.

    `verbose`: every attack with what answered it, not only those that were not held.
    """
    yield from _head(report)
    place: Where | None = None
    for row in report.rows:
        if row.layer.where is not place:
            place = row.layer.where
            yield ""
            yield _TITLES[place]
        yield from _row(row, paint, verbose=verbose)
    yield from _missing(report)
    yield ""
    yield from textwrap.wrap(_sum(report), COLUMNS)


def _head(report: Report) -> Iterator[str]:
    isolation, probe = report.isolation, report.probe
    yield (
        f"{isolation.backend} {probe.version.split()[0]}, {isolation.accelerator}, "
        f"tier {isolation.tier.value}, image {report.image[:12]}, "
        f"guest {isolation.guest.summary}"
    )
    if isolation.tier is Tier.EMULATED:
        yield "No hardware virtualization: the jail around QEMU is the boundary."
    for name, why in probe.tried:
        yield from _wrapped(f"{name} was tried and not taken: ", why, "  ")
    yield from _wrapped("jail: ", ", ".join(isolation.jail.layers), "  ")


def _row(row: Row, paint: Paint, *, verbose: bool) -> Iterator[str]:
    held = f"{row.count(Verdict.ENFORCED)} of {len(row.results)} held"
    words = f"{row.verdict.value:<{_WIDEST}}"
    title = row.layer.title
    room = COLUMNS - _WIDEST - len(held) - 5
    yield f"  {paint(row.verdict, words)}  {title:<{room}} {held}"
    for result in row.results:
        if verbose or result.finding.verdict is not Verdict.ENFORCED:
            yield from _attack(result, paint)


def _attack(result: Result, paint: Paint) -> Iterator[str]:
    verdict, finding = result.finding.verdict, result.finding
    word = {Verdict.ENFORCED: "held", Verdict.UNAVAILABLE: "unavailable"}.get(verdict, "BROKEN")
    lines = list(_wrapped(f"{word} {result.attack.name}: ", finding.reason, " " * 8))
    yield " " * 6 + paint(verdict, word) + lines[0].strip().removeprefix(word)
    yield from lines[1:]
    if finding.get:
        yield from _wrapped("get it: ", finding.get, " " * 8)
    if verdict is Verdict.BROKEN:
        yield from _wrapped("should be stopped by: ", result.attack.control, " " * 8)


def _missing(report: Report) -> Iterator[str]:
    missing = report.isolation.jail.missing
    if not missing:
        return
    yield ""
    yield "Not on this host, and named so on every card and record"
    for layer, why in missing.items():
        yield from _wrapped(f"{layer}: ", why, " " * 4, first=" " * 2)
        yield from _wrapped("get it: ", how_to_get(layer), " " * 6, first=" " * 4)


def _sum(report: Report) -> str:
    count = {
        verdict: sum(r.finding.verdict is verdict for r in report.results) for verdict in Verdict
    }
    tried = f"{len(report.results)} attacks" if report.complete else "Only some attacks"
    return (
        f"{tried}: {count[Verdict.ENFORCED]} held, {count[Verdict.UNAVAILABLE]} unavailable, "
        f"{count[Verdict.BROKEN]} went through or unproven; {report.seconds:.0f} s. "
        + ("Isolation is BROKEN." if report.verdict is Verdict.BROKEN else "Isolation holds.")
    )


def _wrapped(start: str, text: str, indent: str, *, first: str | None = None) -> Iterator[str]:
    plain = "".join(char if char.isprintable() else " " for char in text)
    before = indent if first is None else first
    yield from textwrap.wrap(
        start + plain,
        COLUMNS,
        initial_indent=before,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
