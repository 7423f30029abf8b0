"""`luminaguard doctor`: proves this host's isolation by trying attacks on real machines."""

import fnmatch
import json
import os
import sys

import anyio
import click

from luminaguard.backends import backend_report
from luminaguard.cli.backends import backend_lines, backends_json
from luminaguard.cli.stages import Stages
from luminaguard.config import Settings
from luminaguard.doctor.attack import Attack, Verdict
from luminaguard.doctor.examine import examine
from luminaguard.doctor.registry import ATTACKS
from luminaguard.doctor.report import Report
from luminaguard.doctor.table import table
from luminaguard.errors import ConfigError

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
@click.pass_obj
def doctor(settings: Settings, *, as_json: bool, verbose: bool, patterns: tuple[str, ...]) -> int:
    """Try attacks on real machines of this host, and tell which layers held.

    Exit code: 0 when no attack went through, 1 when one did, 125 when none could be tried.
    """
    chosen = _chosen(patterns)
    complete = len(chosen) == len(ATTACKS)
    with Stages() as stages:
        report = anyio.run(
            lambda: examine(settings, chosen, stages.show, complete=complete),
        )
    backends = anyio.run(backend_report, settings) if complete else ()
    if as_json:
        click.echo(json.dumps({**report.as_json(), "backends": backends_json(backends)}))
    else:
        plain = bool(os.environ.get("NO_COLOR")) or not sys.stdout.isatty()
        for line in table(report, _plain if plain else _painted, verbose=verbose):
            click.echo(line)
        for line in backend_lines(backends) if backends else ():
            click.echo(line)
    return exit_code(report)


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
