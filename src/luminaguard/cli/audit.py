"""`luminaguard audit`: find, show, verify and export records."""

import json
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from luminaguard.audit.log import utc_now
from luminaguard.audit.prune import prune as prune_log
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Record, facts_of
from luminaguard.audit.verify import Verification
from luminaguard.cli.auditshow import shown
from luminaguard.cli.auditstats import print_stats
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.visible import visible
from luminaguard.errors import AuditError

TAMPERED = 1
"""Exit code of `audit verify` when the log is not what was written."""

_SUMMARY_CHARS = 60


class Moment(click.ParamType[datetime]):
    """A date or a time in ISO 8601; UTC unless it says otherwise."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment, or fail with what was expected."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time like 2026-01-31T12:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group()
def audit() -> None:
    """Read the record of all calls: what was proposed, decided and done."""


@audit.command("list")
@click.option("--since", type=Moment(), help="Not before this time (ISO 8601, UTC by default).")
@click.option("--until", type=Moment(), help="Before this time.")
@click.option("--session", "session_id", help="Of this session.")
@click.option("--call", "call_id", help="Of this call.")
@click.option("--kind", help="Of this kind, say call.proposed or approval.decided.")
@click.option("--tool", help="About this tool.")
@click.option("--risk", help="Of this risk: low, medium, high, critical.")
@click.option("--lane", help="Of this lane: green, red, forbidden.")
@click.option("--rule", help="Judged by this rule.")
@click.option("--decision", help="Ended so: approved, rejected, expired, failed.")
@click.option("--text", help="With this text anywhere in the body.")
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    default="newest",
    show_default=True,
    help="Which come first.",
)
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(order: str, as_json: bool, **filters: Any) -> None:  # noqa: ANN401 - click's
    """List records."""
    records = _reader().find(Query(newest_first=order == "newest", **filters))
    if as_json:
        _print_json({"records": [record.as_json() for record in records]})
        return
    rows = [_HEADINGS, *(_columns(record) for record in records)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEADINGS) - 1)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        click.echo("  ".join((*cells, row[-1])).rstrip())


@audit.command()
@click.argument("seq", type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(seq: int, as_json: bool) -> None:
    """Show one record by its number: the card that was decided on, if it belongs to one."""
    record = _reader().get(seq)
    if record is None:
        raise AuditError(f"there is no record {seq}", hint="`luminaguard audit list` shows which")
    if as_json:
        _print_json(record.as_json())
        return
    click.echo(shown(_reader(), record))


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(as_json: bool) -> None:
    """Check that the log is what was written; exit code 1 if it is not."""
    reader = _reader()
    with _progress(reader.last_seq, quiet=as_json) as progress:
        found = reader.verify(progress)
    if as_json:
        _print_json(found.as_json())
    else:
        click.echo(visible(_verification_text(found)))
    if not found.ok:
        sys.exit(TAMPERED)


@audit.command()
@click.argument("file", type=click.File("wb"), default="-")
def export(file: BinaryIO) -> None:
    """Write the log as JSON Lines that a third party can verify without LuminaGuard.

    The first line holds the signed head and the public key. Without FILE, or with -, it goes to
    standard output.
    """
    count = _reader().export(file)
    click.echo(f"{count} records exported", err=True)


@audit.command()
@click.option("--since", type=Moment(), help="Not before this time (ISO 8601, UTC by default).")
@click.option("--until", type=Moment(), help="Before this time.")
@click.option("--session", "session_id", help="Of this session.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(as_json: bool, **filters: Any) -> None:  # noqa: ANN401 - click's
    """Say how often you were asked, how you answered, and what models cost."""
    print_stats(_reader(), Query(**filters), as_json=as_json)


@audit.command()
@click.option("--before", type=Moment(), required=True, help="Take out what is older than this.")
@click.option(
    "--to",
    "export_to",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="New file that the records are moved into.",
)
def prune(before: datetime, export_to: Path) -> None:
    """Move old records into an export; the chain of those that stay goes on unbroken."""
    _reader()  # says so where there is no log
    state_dir: Path = click.get_current_context().obj.state_dir
    done = prune_log(state_dir, before, export_to, utc_now)
    told = f"{done.records} records moved to {export_to}" if done.records else "nothing is so old"
    click.echo(visible(told))


@contextmanager
def _progress(total: int, *, quiet: bool) -> Generator[Callable[[int], None]]:
    """Give what shows how far a verification is, on a terminal and for a long log only."""
    if quiet or total < _LONG_LOG or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label="verifying", file=sys.stderr) as bar:
        yield lambda seq: bar.update(seq - bar.pos)


_LONG_LOG = 50_000
_HEADINGS = ("seq", "time", "kind", "session", "tool", "lane", "risk", "decision", "summary")


def _columns(record: Record) -> tuple[str, ...]:
    facts = facts_of(record.body)
    cells = (
        str(record.seq),
        record.time[:19].replace("T", " "),
        record.kind,
        record.session_id[:12],
        facts.tool,
        facts.lane,
        facts.risk,
        facts.decision,
        _summary(record.body),
    )
    return tuple(visible(cell or "-") for cell in cells)


def _summary(body: Mapping[str, JsonValue]) -> str:
    """Return what a record is about in a few words; what does not fit is counted."""
    call = body.get("call")
    arguments = cast("Mapping[str, JsonValue]", call).get("arguments") if call else None
    told = body.get("summary") or body.get("outcome") or arguments or ""
    text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    more = len(text) - _SUMMARY_CHARS
    return text if more <= 0 else f"{text[:_SUMMARY_CHARS]}… (+{more})"


def _verification_text(found: Verification) -> str:
    if not found.ok:
        first = f"first bad record: {found.first_bad_seq}" if found.first_bad_seq else "no record"
        return f"TAMPERED: {found.problem} ({first}; {found.count} before it are good)"
    crash = f"; {found.in_flight} not yet in the head" if found.in_flight else ""
    cut = f"; {found.taken_out} older ones were taken out" if found.taken_out else ""
    return f"ok: {found.count - found.taken_out} records, chained and signed{cut}{crash}"


def _print_json(fields: Mapping[str, JsonValue]) -> None:
    click.echo(json.dumps(fields))


def _reader() -> AuditReader:
    settings = click.get_current_context().obj
    state_dir: Path = settings.state_dir
    return AuditReader(state_dir)
