"""Run as a program: makes machines, tells their process ids on stdout, then waits to be ended.

usage: python holder.py IMAGE DIGEST CACHE RUNTIME clone|building
"""

import os
import sys
from pathlib import Path

import anyio

from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.spec import VmSpec


def tell(*pids: int) -> None:
    sys.stdout.write(" ".join(map(str, pids)) + "\n")
    sys.stdout.flush()


async def hold(image: GuestImage, cache: Path, runtime: Path) -> None:
    hypervisor = QemuHypervisor(cache, runtime, image=image)
    template = await hypervisor.template(VmSpec(image=image))
    async with await hypervisor.restore(template) as one, await hypervisor.restore(template) as two:
        await two.pause()
        tell(os.getpid(), one.pid, two.pid)
        await anyio.sleep(300)


async def build(image: GuestImage, cache: Path, runtime: Path) -> None:
    tell(os.getpid())
    await QemuHypervisor(cache, runtime, image=image).template(VmSpec(image=image))


def main() -> None:
    image = GuestImage(directory=Path(sys.argv[1]), digest=sys.argv[2])
    job = hold if sys.argv[5] == "clone" else build
    anyio.run(job, image, Path(sys.argv[3]), Path(sys.argv[4]))


if __name__ == "__main__":
    main()
