"""`luminaguard doctor`: proves this host's isolation by trying attacks on real machines."""

import fnmatch
import json
import os
import sys

import anyio
import click

from luminaguard.backends import BackendReport, BackendState, backend_report
from luminaguard.cli.backends import backend_lines, backends_json
from luminaguard.cli.exits import FAILED
from luminaguard.cli.stages import Stages
from luminaguard.config import Settings
from luminaguard.doctor.attack import Attack, Verdict
from luminaguard.doctor.examine import examine
from luminaguard.doctor.registry import ATTACKS
from luminaguard.doctor.report import FORMAT, Report
from luminaguard.doctor.table import table
from luminaguard.errors import ConfigError, LuminaGuardError

BROKEN = 1
"""Exit code when an attack went through; 125 when nothing could be tried at all."""
_COLORS = {Verdict.ENFORCED: "green", Verdict.UNAVAILABLE: "yellow", Verdict.BROKEN: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with raw evidence.")
@click.option("-v", "--verbose", is_flag=True, help="Show every attack and what answered it.")
@click.option(
    "--only",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Try only attacks whose name or layer matches; repeatable.",
)
@click.option("--backends", "only_backends", is_flag=True, help="Say what works here; no attacks.")
@click.pass_obj
def doctor(
    settings: Settings,
    *,
    as_json: bool,
    verbose: bool,
    patterns: tuple[str, ...],
    only_backends: bool,
) -> int:
    """Say which backends work on this host, then try attacks on real machines of QEMU's.

    Exit code: 0 when no attack went through, 1 when one did, 125 when none could be tried.
    """
    if only_backends and patterns:
        raise click.UsageError("--backends tries no attacks, so --only says nothing")
    chosen = _chosen(patterns)
    complete = len(chosen) == len(ATTACKS)
    backends: tuple[BackendReport, ...] = ()
    if complete:
        with Stages() as stages:
            stages.show("backends", None)
            backends = anyio.run(backend_report, settings)
        for line in () if as_json else backend_lines(backends):
            click.echo(line)
    if only_backends:
        return _only_backends(backends, as_json=as_json)
    try:
        with Stages() as stages:
            report = anyio.run(
                lambda: examine(settings, chosen, stages.show, complete=complete),
            )
    except LuminaGuardError:
        if as_json:
            click.echo(_untried(backends))
        raise
    if as_json:
        click.echo(json.dumps({**report.as_json(), "backends": backends_json(backends)}))
    else:
        plain = bool(os.environ.get("NO_COLOR")) or not sys.stdout.isatty()
        for line in table(report, _plain if plain else _painted, verbose=verbose):
            click.echo(line)
    return exit_code(report)


def _only_backends(backends: tuple[BackendReport, ...], *, as_json: bool) -> int:
    if as_json:
        click.echo(_untried(backends))
    works = any(report.state is BackendState.WORKS for report in backends)
    return 0 if works else FAILED


def _untried(backends: tuple[BackendReport, ...]) -> str:
    """Return the JSON object of an examination that could not be made, or was not asked for."""
    return json.dumps(
        {"format": FORMAT, "verdict": None, "complete": False, "backends": backends_json(backends)}
    )


def exit_code(report: Report) -> int:
    """Return the exit code that tells of a report."""
    return BROKEN if report.verdict is Verdict.BROKEN else 0


def _chosen(patterns: tuple[str, ...]) -> tuple[Attack, ...]:
    if not patterns:
        return ATTACKS
    chosen = tuple(
        attack
        for attack in ATTACKS
        if any(
            fnmatch.fnmatchcase(word, pattern)
            for pattern in patterns
            for word in (attack.name, attack.layer, attack.where.value)
        )
    )
    if not chosen:
        raise ConfigError(
            f"no attack or layer is named like {', '.join(patterns)}",
            hint="luminaguard doctor --verbose shows all names",
        )
    return chosen


def _plain(_verdict: Verdict, text: str) -> str:
    return text


def _painted(verdict: Verdict, text: str) -> str:
    return click.style(text, fg=_COLORS[verdict], bold=verdict is Verdict.BROKEN)
