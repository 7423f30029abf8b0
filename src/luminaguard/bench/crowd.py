"""Figures of crowds: many sessions at the same moment, and as many paused clones as fit."""

import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from luminaguard.backends import choose
from luminaguard.bench.fleet import memory_of, run_fleet
from luminaguard.bench.samples import Samples, Target
from luminaguard.config import Settings
from luminaguard.machines import machine_spec
from luminaguard.vm.direct import DirectSource
from luminaguard.vm.linux import allow_open_files
from luminaguard.vm.pool.memory import HostMemory

SESSIONS = (1, 10, 50, 100)
FITTING = "paused clones, as many as memory allows"
FITTING_MEMORY = "PSS of each of these"
FITTING_TIME = "these were made in"
_MOST = 2_000
"""Enough to see the slope; one process could hold more."""


def done_in(sessions: int) -> str:
    """Return the name of the figure for so many sessions' time."""
    return f"{sessions} sessions at once, each commits: all done"


def memory_at(sessions: int) -> str:
    """Return the name of the figure for so many sessions' memory."""
    return f"{sessions} sessions at once: PSS of all machines"


TARGETS = {
    **{done_in(n): Target(floor=done_in(1), unit="s") for n in SESSIONS},
    **{memory_at(n): Target(floor=memory_at(1), unit="MiB") for n in SESSIONS},
    FITTING: Target(unit=""),
    FITTING_MEMORY: Target(unit="MiB"),
    FITTING_TIME: Target(unit="s"),
}


async def measure_crowds(samples: Samples, settings: Settings, parent: Path) -> None:
    """Run 1 to 100 sessions at once, then fill the memory with paused clones.

    At one moment all machines of a run are alive; no pool has made any of them ahead.
    """
    allow_open_files()
    spec = machine_spec(settings, settings.vm.image)
    hypervisor = await choose(settings, lambda: spec.image)
    try:
        await hypervisor.template(spec)
        source = DirectSource(hypervisor, lambda: spec)
        for sessions in SESSIONS:
            place = parent / f"crowd-{sessions}"
            place.mkdir()
            own = replace(settings, state_dir=place / "state")
            run = await run_fleet(source, own, place, sessions)
            samples.add(done_in(sessions), run.total_ms / 1000)
            if run.memory_mib is not None:
                samples.add(memory_at(sessions), run.memory_mib)
        await _fill(samples, settings, source)
    finally:
        hypervisor.close()


async def _fill(samples: Samples, settings: Settings, source: DirectSource) -> None:
    """Make paused clones until only the pool's reserve of memory is left."""
    memory, pids = HostMemory(), list[int]()
    started_s = time.perf_counter()
    async with AsyncExitStack() as alive:
        while len(pids) < _MOST:
            lease = await source.lease("bench")
            alive.push_async_callback(lease.release)
            await lease.vm.pause()
            pids.append(lease.vm.pid)
            free_bytes = memory.free_bytes()
            if free_bytes is None or free_bytes < settings.pool.memory_reserve_bytes:
                break
        samples.add(FITTING_TIME, time.perf_counter() - started_s)
        samples.add(FITTING, len(pids))
        taken_mib = memory_of(pids)
        if taken_mib is None:
            samples.unavailable[FITTING_MEMORY] = "the kernel does not tell; run it as root"
        else:
            samples.add(FITTING_MEMORY, taken_mib / len(pids))
