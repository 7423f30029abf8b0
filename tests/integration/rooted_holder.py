"""Run as a program: boots a machine, tells its maker's and its own process id, then waits.

usage: python rooted_holder.py process|gvisor IMAGE DIGEST CACHE RUNTIME
"""

import os
import sys
from pathlib import Path

import anyio

from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.gvisor.backend import GvisorHypervisor
from luminaguard.vm.backends.process.backend import ProcessHypervisor
from luminaguard.vm.spec import VmSpec

MAKERS = {maker.name: maker for maker in (ProcessHypervisor, GvisorHypervisor)}


async def hold(backend: str, image: GuestImage, cache: Path, runtime: Path) -> None:
    hypervisor = MAKERS[backend](cache, runtime, image=image)
    async with await hypervisor.boot(VmSpec(image=image)) as machine:
        sys.stdout.write(f"{os.getpid()} {machine.pid}\n")
        sys.stdout.flush()
        await anyio.sleep(300)


if __name__ == "__main__":
    found = GuestImage(directory=Path(sys.argv[2]), digest=sys.argv[3])
    anyio.run(hold, sys.argv[1], found, Path(sys.argv[4]), Path(sys.argv[5]))
