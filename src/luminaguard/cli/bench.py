"""`luminaguard bench`: the figures of this machine, each beside its floor."""

import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import anyio
import click

from luminaguard.bench.machines import COLD_BOOT, FIRST_ECHO, FLOOR, RESTORE, measure_machines
from luminaguard.bench.samples import Samples, Target
from luminaguard.bench.sessions import (
    COMMIT,
    HARVEST,
    PYTHON,
    REBUILD,
    SETTLED,
    WHOLE,
    measure_sessions,
    measure_whole_process,
)
from luminaguard.config import Settings
from luminaguard.image.store import ImageStore
from luminaguard.vm.spec import VmSpec

TARGETS = {
    RESTORE: Target(ms=60, floor=FLOOR),
    COLD_BOOT: Target(ms=3500, floor=FLOOR),
    FIRST_ECHO: Target(floor=FLOOR),
    SETTLED: Target(ms=50),
    PYTHON: Target(ms=25),
    WHOLE: Target(ms=600, floor=FLOOR),
    HARVEST: Target(ms=80),
    REBUILD: Target(ms=600),
    COMMIT: Target(ms=100),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print raw samples and medians as JSON.")
@click.option(
    "-n",
    "rounds",
    type=click.IntRange(min=3),
    default=11,
    show_default=True,
    help="Samples of each quick figure.",
)
@click.pass_obj
def bench(settings: Settings, *, as_json: bool, rounds: int) -> None:
    """Measure this machine: cold boot, restore, first command, harvest, commit, whole process."""
    samples = Samples()
    image = ImageStore(settings.cache_dir).current(settings.vm.image)
    spec = VmSpec(image=image, memory_mib=settings.vm.memory_mib)
    with tempfile.TemporaryDirectory(prefix="luminaguard-bench-") as directory:
        parent = Path(directory)
        anyio.run(measure_machines, samples, spec, settings.cache_dir, parent / "run", rounds)
        environment = {**os.environ, "LUMINAGUARD_STATE_DIR": str(parent / "state")}
        for _ in range(max(3, rounds // 2)):
            measure_whole_process(samples, parent, environment)
        anyio.run(measure_sessions, samples, settings, parent, rounds)
    if as_json:
        click.echo(json.dumps(_report(samples)))
    else:
        _print(samples)


def _report(samples: Samples) -> dict[str, object]:
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "processors": os.cpu_count(),
            "python": sys.version.split()[0],
            "load": os.getloadavg() if sys.platform != "win32" else None,
        },
        "figures": samples.rows(TARGETS),
        "samples_ms": samples.taken,
    }


def _print(samples: Samples) -> None:
    click.echo(f"{'figure':<52} {'median':>8} {'min':>8} {'max':>8} {'n':>3} {'target':>7} ratio")
    for row in samples.rows(TARGETS):
        target = f"{row['target_ms']:g}" if row["target_ms"] else "-"
        ratio = f"{row['ratio']} x {row['floor']}" if row["ratio"] else ""
        click.echo(
            f"{row['figure']:<52} {row['median_ms']:>8} {row['min_ms']:>8} {row['max_ms']:>8} "
            f"{row['n']:>3} {target:>7} {ratio}"
        )
