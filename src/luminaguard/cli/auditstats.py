"""`luminaguard audit stats`: how often you are asked, how you answer, and what models cost."""

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace

import click

from luminaguard.audit.costs import by_model
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.stats import KINDS, Stats, stats_of
from luminaguard.domain.visible import visible
from luminaguard.llm.usage import Usage


def print_stats(reader: AuditReader, query: Query, *, as_json: bool) -> None:
    """Print statistics over the records that a query finds."""
    oldest_first = replace(query, newest_first=False, limit=0)
    records = (record for record in reader.stream(oldest_first) if record.kind in KINDS)
    found = stats_of(records)
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return
    for line in _lines(found):
        click.echo(visible(line))


def _lines(found: Stats) -> Iterator[str]:
    yield f"{found.sessions:,} sessions, {found.calls:,} calls"
    yield f"outcomes        {_counts(found.outcomes)}"
    per_session = found.prompts_per_session
    often = "" if per_session is None else f", {per_session:.2f} for each session"
    yield f"asked           {found.asked:,} times{often}"
    rate = found.approval_rate
    share = "" if rate is None else f" ({rate:.0%} approved)"
    yield f"answers         {_counts(found.ends)}{share}"
    yield f"answered by     {_counts(found.approvers)}"
    if found.seconds:
        quick = sum(taken < 2 for taken in found.seconds)
        median = statistics.median(found.seconds)
        yield f"people took     {median:.1f} s (median); {quick:,} answers came in under 2 s"
    yield f"asked by risk   {_counts(found.asked_by_risk)}"
    yield f"asked by rule   {_counts(found.asked_by_rule)}"
    for used in by_model(found.spent):
        usage = Usage(
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cost_usd=used.cost_usd,
        )
        yield f"{used.model}: {used.replies:,} replies, {usage.text}"


def _counts(counted: Mapping[str, int]) -> str:
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered) or "none"
