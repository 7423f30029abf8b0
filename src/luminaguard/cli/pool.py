"""`luminaguard pool`: how the pools of warm machines that run now are doing."""

import json
import time
from collections.abc import Iterator

import click

from luminaguard.backends import named
from luminaguard.config import Settings
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.visible import visible
from luminaguard.vm.pool.publish import PublishedPool, published_pools

_MIB = 1024 * 1024


@click.group()
def pool() -> None:
    """Look at the pools of warm machines."""


@pool.command()
@click.option(
    "--backend", metavar="NAME", help="Only pools whose machines are made by this backend."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def status(settings: Settings, *, backend: str | None, as_json: bool) -> None:
    """Show every pool that runs now: machines, queue, times, memory, failures."""
    only = None if backend is None else named(backend).name
    pools = [one for one in published_pools(settings.runtime_dir) if only in {None, one.backend}]
    if as_json:
        click.echo(json.dumps({"pools": [one.as_json() for one in pools]}))
        return
    if not pools:
        click.echo("no pool is running" if only is None else f"no pool on {only} is running")
        return
    for one in pools:
        for line in _lines(one):
            click.echo(visible(line))


def _lines(pool: PublishedPool) -> Iterator[str]:
    """Yield what a pool says, for humans."""
    told = pool.metrics
    age_s = max(time.time() - pool.told_at, 0.0)
    on = f" on {pool.backend}" if pool.backend else ""
    yield f"pool {pool.id} of process {pool.pid}{on}, as of {age_s:.0f} s ago"
    yield (
        f"  machines   {_text(told, 'active_vms')} in use, {_text(told, 'paused')} of "
        f"{_text(told, 'size')} in store, {_text(told, 'starting')} starting, "
        f"{_text(told, 'ending')} ending; at most {_text(told, 'capacity')}"
    )
    yield f"  waiting    {_text(told, 'queued_tasks')}; at most {_text(told, 'max_waiting')}"
    yield f"  spawn      {_ms(told.get('avg_spawn_time_ms'))} on average"
    yield f"  hand-out   {_percentiles(told.get('hand_out_ms'))}"
    yield f"  queue      {_percentiles(told.get('queue_wait_ms'))}"
    refreshing = "; a new one is taking over" if told.get("refreshing") else ""
    freshness = _number(told.get("snapshot_freshness"))
    checked = "none yet" if freshness is None else f"found right {freshness + age_s:.0f} s ago"
    yield f"  template   {(_text(told, 'template'))[:12]}, {checked}{refreshing}"
    yield (
        f"  memory     {_mib(told.get('memory_used_bytes'))} of "
        f"{_mib(told.get('memory_limit_bytes'))}; {_mib(told.get('clone_bytes'))} a machine in "
        "store"
    )
    yield f"  failures   {_failures(told.get('failures'))}"


def _text(told: dict[str, JsonValue], name: str) -> str:
    value = told.get(name)
    return "-" if value is None else str(value)


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _ms(value: JsonValue) -> str:
    number = _number(value)
    return "-" if number is None else f"{number:.1f} ms"


def _mib(value: JsonValue) -> str:
    number = _number(value)
    return "an unknown amount" if number is None else f"{number / _MIB:.0f} MiB"


def _percentiles(value: JsonValue) -> str:
    if not isinstance(value, dict) or not value.get("n"):
        return "none yet"
    parts = (f"{name} {_ms(value.get(name))}" for name in ("p50", "p95", "p99"))
    return f"{', '.join(parts)} (latest {_text(value, 'n')})"


def _failures(value: JsonValue) -> str:
    if not isinstance(value, dict) or not value:
        return "none"
    return ", ".join(f"{step} {count}" for step, count in value.items())
