"""A pool over machines in memory, with a clock and a memory that tests set."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from luminaguard.image.image import GuestImage
from luminaguard.testing.hypervisor import FakeHypervisor
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.lease import PoolLease
from luminaguard.vm.pool.metrics import PoolMetrics
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.spec import VmSpec

GIB = 1024**3


def spec(digest: str = "0") -> VmSpec:
    return VmSpec(image=GuestImage(directory=Path("/nowhere"), digest=digest * 64))


@dataclass
class FakeMemory:
    """Memory that is as free as a test says."""

    free: int | None = 8 * GIB
    total: int | None = 8 * GIB
    used: int | None = 10 * 1024**2

    def free_bytes(self) -> int | None:
        return self.free

    def total_bytes(self) -> int | None:
        return self.total

    def used_bytes(self, pid: int) -> int | None:
        return self.used


@dataclass
class World:
    """A fake hypervisor, a clock, a memory and an image to make pools from."""

    hypervisor: FakeHypervisor = field(default_factory=FakeHypervisor)
    memory: FakeMemory = field(default_factory=FakeMemory)
    now_s: float = 1000.0
    image: str = "0"

    def alive(self) -> int:
        return sum(one.state is not VmState.STOPPED for one in self.hypervisor.machines)

    @asynccontextmanager
    async def pool(self, **settings: Any) -> AsyncGenerator[MachinePool]:
        """Open a pool; when it closes, no machine may be left."""
        made = PoolSettings(**{"size": 2, "max_machines": 6, **settings})
        pool = MachinePool(
            self.hypervisor,
            lambda: spec(self.image),
            made,
            now=lambda: self.now_s,
            memory=self.memory,
        )
        async with pool:
            yield pool
        assert self.alive() == 0

    def pass_time(self, pool: MachinePool, seconds: float) -> None:
        self.now_s += seconds
        pool.look()


async def lease_while(
    pool: MachinePool, meanwhile: Callable[[], Coroutine[Any, Any, None]]
) -> PoolLease:
    """Return a lease that is asked for while something else goes on."""
    leases: list[PoolLease] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(meanwhile)
        leases.append(await pool.lease("session"))
    return leases[0]


def at_rest(metrics: PoolMetrics) -> bool:
    """Full and quiet."""
    return metrics.paused == metrics.size and not metrics.starting and not metrics.ending
