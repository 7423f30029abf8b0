"""A shell confined exactly as QEMU is, standing where a guest that took over QEMU would stand."""

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from luminaguard.vm.confinement.berth import Berth, Berths
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.confinement.jail import Confinement, Limits
from luminaguard.vm.confinement.jailroot import prepare_root
from luminaguard.vm.confinement.process import VmmProcess

SHELL = os.path.realpath("/bin/sh")
MIB = 1024 * 1024
LIMITS = Limits(address_space_bytes=1024 * MIB, file_bytes=MIB, processes=24)
TAKEN = CgroupLimits(memory_bytes=64 * MIB, processes=32, cpus=1.0, weight=50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A script in the jail, still running."""

    process: VmmProcess
    berth: Berth


def nothing(_stay: Stay) -> None:
    """Do nothing while the script runs."""


async def inside(
    script: str,
    cache: Path,
    *,
    inherit: tuple[int, ...] = (),
    programs: tuple[str, ...] = (),
    limits: Limits = LIMITS,
    taken: CgroupLimits = TAKEN,
    afterwards: Callable[[Stay], None] = nothing,
) -> str:
    """Run a shell script exactly where QEMU would run; return what it says on stderr.

    `programs`: what it needs besides cat, ls and id; `afterwards`: called when it has ended, and
    before its cgroup goes.
    """
    paths = (SHELL, *map(tool, ("setpriv", "cat", "ls", "id", *programs)))
    root = prepare_root(cache, paths)
    berths = Berths(f"luminaguard-{secrets.token_hex(16)}")
    berth = await berths.take(taken)
    confinement = Confinement(root=root, limits=limits, lease=berth.lease, joins=berth.cgroup.joins)
    # It waits to be told: a script that ended at once could not be taken hold of.
    waits, go = os.pipe()
    os.fchmod(waits, 0o444)
    script = f"read -r go </proc/self/fd/{waits}; exec >&2; {script}"
    try:
        # QEMU's own option that the jail appends is the script's $0 and $1.
        process = await VmmProcess.start(
            [SHELL, "-c", script], confinement, (waits, *inherit, *berth.inherited)
        )
    except BaseException:
        os.close(go)
        await berth.cgroup.remove()
        berths.close()
        raise
    finally:
        os.close(waits)
        berth.disembark()
    try:
        os.write(go, b"go\n")
        with anyio.fail_after(30):
            return await process.last_words()
    finally:
        os.close(go)
        afterwards(Stay(process=process, berth=berth))
        await process.end()
        await berth.cgroup.remove()
        berths.close()


def perl() -> str:
    """Return the interpreter whose scripts can make any system call."""
    if shutil.which("perl") is None:
        pytest.skip("perl, which makes the system calls, is not installed: apt-get install perl")
    return "perl"
