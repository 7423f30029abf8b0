"""Run as a program: opens a pool, leases a machine, tells process ids on stdout, then waits.

usage: python pool_holder.py IMAGE DIGEST CACHE RUNTIME
"""

import os
import sys
from pathlib import Path

import anyio
from holder import tell

from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.publish import MetricsFile
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.spec import VmSpec


async def hold(image: GuestImage, cache: Path, runtime: Path) -> None:
    hypervisor = QemuHypervisor(cache, runtime, image=image)
    pool = MachinePool(hypervisor, VmSpec(image=image), PoolSettings(size=1, max_machines=3))
    with MetricsFile(runtime, pool.id) as public:
        pool.watch(public.publish)
        async with pool:
            lease = await pool.lease("owner")
            await pool.filled(100)
            warm = await pool.lease("another")
            tell(os.getpid(), lease.vm.pid, warm.vm.pid)
            await anyio.sleep(300)


if __name__ == "__main__":
    image = GuestImage(directory=Path(sys.argv[1]), digest=sys.argv[2])
    anyio.run(hold, image, Path(sys.argv[3]), Path(sys.argv[4]))
