"""`luminaguard policy`: the rules in force, and what others would have decided."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.cli.audit import Moment
from luminaguard.cli.explain import wrapped
from luminaguard.cli.options import workspace_option
from luminaguard.config import Settings
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.changeset import ChangeKind
from luminaguard.domain.visible import visible
from luminaguard.pipeline.replay import Fate, Replayed, replay
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.book import RulesFile
from luminaguard.policy.rules.files import RuleFiles, complaints
from luminaguard.policy.rules.rule import Rule
from luminaguard.policy.source import PolicySource
from luminaguard.runtime import rule_files

_SHOWN_CHARS = 60


@click.group()
def policy() -> None:
    """Show the rules, and try changed ones on the recorded past."""


@policy.command()
@workspace_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def show(settings: Settings, *, workspace: Path, as_json: bool) -> None:
    """Show the rules in force in a project: yours, then the project's own."""
    files = rule_files(settings, workspace.resolve())
    held = PolicySource(files=files).opened()
    if as_json:
        click.echo(json.dumps(_shown_json(held)))
        return
    click.echo(f"policy {held.version[:16]}: built-in rules, then")
    for file in held.rulebook.files:
        click.echo(visible(f"{file.tier.value}  {file.path}  sha256:{file.digest[:16]}"))
        for line in (line for rule in file.rules for line in _rule_lines(rule)):
            click.echo(line)
    if not held.rulebook.files:
        click.echo(f"  no rules of your own; {files.user} would hold them")
    for line in complaints(held.rulebook.files):
        click.echo(visible(f"luminaguard: {line}"), err=True)


@policy.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--since", type=Moment(), help="Only calls since this time (ISO 8601).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def test(settings: Settings, *, file: Path, since: datetime | None, as_json: bool) -> None:
    """Say what the rules in FILE would have decided differently, from the audit log.

    Nothing runs. Calls are judged by their recorded words and by the effect that they really had;
    a call of which the record leaves something out is counted as undecidable.
    """
    changed = PolicySource(files=RuleFiles(user=file.absolute())).opened()
    records = AuditReader(settings.state_dir).find(Query(since=since, newest_first=False, limit=0))
    rows = list(replay(records, changed))
    different = [row for row in rows if row.now not in {row.was, Fate.UNDECIDABLE}]
    undecidable = [row for row in rows if row.now is Fate.UNDECIDABLE]
    if as_json:
        counts: dict[str, JsonValue] = {
            "calls": len(rows),
            "same": len(rows) - len(different) - len(undecidable),
            "different": len(different),
            "undecidable": len(undecidable),
        }
        shown: list[JsonValue] = [row.as_json() for row in (*different, *undecidable)]
        click.echo(json.dumps({"policy_version": changed.version, **counts, "rows": shown}))
        return
    for row in different:
        click.echo(visible(_row_text(row)))
    click.echo(_summary(rows, different, undecidable))


def _shown_json(held: Policy) -> dict[str, JsonValue]:
    return {
        "version": held.version,
        "files": [_file_json(file) for file in held.rulebook.files],
    }


def _file_json(file: RulesFile) -> dict[str, JsonValue]:
    return {
        **file.as_json(),
        "rules": [
            {"name": rule.slug, "action": rule.action.value, "reason": rule.reason}
            for rule in file.rules
        ],
    }


def _rule_lines(rule: Rule) -> Iterator[str]:
    """Yield a rule with all that it says, one condition a line."""
    yield f"  {rule.action.value:<5}  {rule.name}"
    most = rule.bounds.max_changes
    kinds = rule.bounds.kinds if rule.bounds.kinds != frozenset(ChangeKind) else ()
    about = {
        "tool": rule.tools,
        "server": rule.servers,
        "command": tuple(pattern.as_text() for pattern in rule.commands),
        "path": tuple(pattern.text for pattern in rule.paths),
        "host": rule.hosts,
        "arguments": tuple(f"{name} = {pattern}" for name, pattern in rule.arguments.items()),
        "kinds": tuple(sorted(kind.value for kind in kinds)),
        "max_changes": () if most is None else (str(most),),
        "reason": (rule.reason,) if rule.reason else (),
    }
    for name, items in about.items():
        if items:
            yield from wrapped(visible(f"{name}: {', '.join(items)}"), " " * 9, " " * 11)


def _row_text(row: Replayed) -> str:
    more = len(row.call) - _SHOWN_CHARS
    call = row.call if more <= 0 else f"{row.call[:_SHOWN_CHARS]}… (+{more})"
    return (
        f"#{row.seq}  {row.was.value} → {row.now.value}  {row.tool}: {call}\n"
        f"    {', '.join(row.rules)}"
    )


def _summary(rows: list[Replayed], different: list[Replayed], undecidable: list[Replayed]) -> str:
    if not rows:
        return "no calls are on record"
    ways = Counter(f"{row.was.value} → {row.now.value}" for row in different)
    told = f" ({', '.join(f'{n} {way}' for way, n in ways.items())})" if ways else ""
    unknown = (
        f"; {len(undecidable)} cannot be decided: their records are redacted" if undecidable else ""
    )
    return f"{len(different)} of {len(rows)} calls decided differently{told}{unknown}"
