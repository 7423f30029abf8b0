"""Run as a program: holds a running and a paused machine until it is killed, without a warning.

usage: python -m luminaguard.doctor.holder IMAGE DIGEST CACHE RUNTIME MEMORY_MIB
"""

import sys
from pathlib import Path

import anyio

from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.spec import VmSpec

_HOLD_S = 120.0


async def hold(spec: VmSpec, cache: Path, runtime: Path) -> None:
    """Make two clones, tell their process ids on one line, and wait to be killed."""
    hypervisor = QemuHypervisor(cache, runtime, image=spec.image)
    template = await hypervisor.template(spec)
    async with await hypervisor.restore(template) as one, await hypervisor.restore(template) as two:
        await two.pause()
        sys.stdout.write(f"{one.pid} {two.pid}\n")
        sys.stdout.flush()
        await anyio.sleep(_HOLD_S)


def main() -> None:
    """Read the arguments and hold."""
    directory, digest, cache, runtime, memory = sys.argv[1:]
    image = GuestImage(directory=Path(directory), digest=digest)
    spec = VmSpec(image=image, memory_mib=int(memory))
    anyio.run(hold, spec, Path(cache), Path(runtime))


if __name__ == "__main__":
    main()
