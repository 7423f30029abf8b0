"""`luminaguard audit`: find, show, verify and export records."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Record, facts_of
from luminaguard.audit.verify import Verification
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
    """Show one record by its number."""
    record = _reader().get(seq)
    if record is None:
        raise AuditError(f"there is no record {seq}", hint="`luminaguard audit list` shows which")
    if as_json:
        _print_json(record.as_json())
        return
    text = json.dumps(record.as_json(), ensure_ascii=False, indent=2)
    click.echo(visible(text, keep_newlines=True))


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(as_json: bool) -> None:
    """Check that the log is what was written; exit code 1 if it is not."""
    found = _reader().verify()
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
    return f"ok: {found.count} records, chained and signed{crash}"


def _print_json(fields: Mapping[str, JsonValue]) -> None:
    click.echo(json.dumps(fields))


def _reader() -> AuditReader:
    settings = click.get_current_context().obj
    state_dir: Path = settings.state_dir
    return AuditReader(state_dir)
