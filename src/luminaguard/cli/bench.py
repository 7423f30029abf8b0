"""`luminaguard bench`: the figures of this machine, each beside its floor."""

import json
import os
import platform
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import anyio
import click

from luminaguard.bench import crowd, host, machines, pooled, scale, sessions
from luminaguard.bench.samples import Samples, Target
from luminaguard.cli.options import backend_option, on_backend
from luminaguard.config import Settings

TARGETS = {
    machines.COLD_BOOT: Target(p50=3500, floor=machines.FLOOR),
    machines.RESTORE: Target(p50=60, floor=machines.FLOOR),
    machines.FIRST_ECHO: Target(floor=host.TRUE),
    sessions.WHOLE: Target(p50=600, floor=machines.FLOOR),
    host.BUBBLEWRAP: Target(floor=host.TRUE),
    host.GVISOR: Target(floor=host.TRUE),
    pooled.CALL: Target(p50=75, p95=100, floor=host.TRUE),
    pooled.ECHO: Target(floor=host.TRUE),
    pooled.REFILLING: Target(floor=host.TRUE),
    pooled.HAND_OUT: Target(floor=host.TRUE),
    sessions.SETTLED: Target(p50=50, floor=host.TRUE),
    sessions.PYTHON: Target(p50=25, floor=host.TRUE),
    sessions.IMAGE: Target(floor=host.READ),
    sessions.HARVEST: Target(p50=80, floor=host.TRUE),
    sessions.REBUILD: Target(p50=600, floor=host.READ),
    sessions.COMMIT: Target(p50=100, floor=host.SYNCED),
    scale.MADE: Target(p50=12, unit="s"),
    scale.RESTORED_MEMORY: Target(p50=25, unit="MiB"),
    scale.EXERCISED_MEMORY: Target(p50=70, floor=scale.RESTORED_MEMORY, unit="MiB"),
    **crowd.TARGETS,
}


@click.command()
@backend_option
@click.option("--json", "as_json", is_flag=True, help="Print raw samples and medians as JSON.")
@click.option(
    "--scale",
    "with_scale",
    is_flag=True,
    help="Also a hundred clones, 1 to 100 sessions at once, and as many clones as fit.",
)
@click.option(
    "-n",
    "rounds",
    type=click.IntRange(min=3),
    default=11,
    show_default=True,
    help="Samples of each quick figure.",
)
@click.pass_obj
def bench(
    settings: Settings, *, backend: str | None, as_json: bool, with_scale: bool, rounds: int
) -> None:
    """Measure this machine: restore, first command, warm calls, harvest, commit, whole process.

    Beside each figure stands its ratio to what nothing could be faster than, taken in the same run.
    """
    settings = on_backend(settings, backend)
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="luminaguard-bench-") as directory:
        parent = Path(directory)
        own = replace(settings, state_dir=parent / "state")
        measured = anyio.run(machines.measure_machines, samples, own, rounds)
        own = on_backend(own, measured.backend)
        environment = {**os.environ, "LUMINAGUARD_STATE_DIR": str(own.state_dir)}
        for _ in range(max(3, rounds // 2)):
            sessions.measure_whole_process(samples, parent, environment, measured.backend)
        host.measure_processes(samples, rounds)
        anyio.run(pooled.measure_pool, samples, own, parent, rounds)
        anyio.run(sessions.measure_sessions, samples, own, parent, rounds)
        if with_scale and not measured.snapshots:
            samples.unavailable["--scale"] = f"{measured.backend} makes no clones"
        elif with_scale:
            anyio.run(scale.measure_scale, samples, own)
            anyio.run(crowd.measure_crowds, samples, own, parent)
    if as_json:
        click.echo(json.dumps(_report(samples, measured)))
    else:
        _print(samples)


def _report(samples: Samples, measured: machines.Measured) -> dict[str, object]:
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "processors": os.cpu_count(),
            "python": sys.version.split()[0],
            "backend": measured.backend,
            "version": measured.probe.version,
            "tier": measured.probe.tier.value,
            "accelerator": measured.probe.accelerator,
            "load": os.getloadavg() if sys.platform != "win32" else None,
        },
        "figures": samples.rows(TARGETS),
        "unavailable": samples.unavailable,
        "samples": samples.taken,
    }


def _print(samples: Samples) -> None:
    heads = f"{'median':>8} {'min':>8} {'p95':>8} {'max':>8} {'n':>3} {'unit':<4} {'target':>7}"
    click.echo(f"{'figure':<52} {heads} ratio to its floor")
    for row in samples.rows(TARGETS):
        target = f"{row['target']:g}" if row["target"] else "-"
        if row["target_p95"]:
            target += f"/{row['target_p95']:g}"
        ratio = f"{row['ratio']} x {row['floor']}" if row["ratio"] else ""
        click.echo(
            f"{row['figure']:<52} {row['median']:>8} {row['min']:>8} {row['p95']:>8} "
            f"{row['max']:>8} {row['n']:>3} {row['unit']:<4} {target:>7} {ratio}"
        )
    for figure, reason in samples.unavailable.items():
        click.echo(f"{figure:<52} unavailable: {reason}")
