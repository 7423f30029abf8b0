"""Run as a program: starts a machine of processes, tells its processes' ids on stdout, then waits.

usage: python process_holder.py IMAGE DIGEST CACHE RUNTIME
"""

import os
import sys
from pathlib import Path

import anyio

from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.process.backend import ProcessHypervisor
from luminaguard.vm.spec import VmSpec


async def hold(image: GuestImage, cache: Path, runtime: Path) -> None:
    hypervisor = ProcessHypervisor(cache, runtime, image=image)
    async with await hypervisor.boot(VmSpec(image=image)) as machine:
        sys.stdout.write(f"{os.getpid()} {machine.pid}\n")
        sys.stdout.flush()
        await anyio.sleep(300)


if __name__ == "__main__":
    found = GuestImage(directory=Path(sys.argv[1]), digest=sys.argv[2])
    anyio.run(hold, found, Path(sys.argv[3]), Path(sys.argv[4]))
