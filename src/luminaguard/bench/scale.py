"""Figures of many machines: how long a hundred paused clones take to make, and what each costs."""

import time
from contextlib import AsyncExitStack

from luminaguard.backends import choose
from luminaguard.bench.fleet import memory_of
from luminaguard.bench.samples import Samples
from luminaguard.config import Settings
from luminaguard.machines import machine_spec
from luminaguard.vm.hypervisor import MicroVM

MADE = "100 restored, paused clones: made in"
RESTORED_MEMORY = "100 restored, paused clones: PSS of each"
EXERCISED_MEMORY = "100 clones, 10 of them exercised: PSS of each of those"
_CLONES = 100
_EXERCISED = 10


async def measure_scale(samples: Samples, settings: Settings) -> None:
    """Make a hundred clones one after the other, all alive at the end, and weigh them.

    The template, which all share, is divided among them: that is what PSS means.
    """
    spec = machine_spec(settings, settings.vm.image)
    hypervisor = await choose(settings, lambda: spec.image)
    try:
        template = await hypervisor.template(spec)
        async with AsyncExitStack() as alive:
            clones: list[MicroVM] = []
            started_s = time.perf_counter()
            for _ in range(_CLONES):
                clone = await alive.enter_async_context(await hypervisor.restore(template))
                await clone.pause()
                clones.append(clone)
            samples.add(MADE, time.perf_counter() - started_s)
            _weigh(samples, RESTORED_MEMORY, clones)
            for clone in clones[:_EXERCISED]:
                await clone.resume()
                await clone.exercise()
                await clone.pause()
            _weigh(samples, EXERCISED_MEMORY, clones[:_EXERCISED])
    finally:
        hypervisor.close()


def _weigh(samples: Samples, figure: str, clones: list[MicroVM]) -> None:
    for clone in clones:
        memory_mib = memory_of([clone.pid])
        if memory_mib is None:
            samples.unavailable[figure] = "the kernel does not tell; run it as root on Linux"
            return
        samples.add(figure, memory_mib)
