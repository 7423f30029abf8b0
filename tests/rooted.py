"""Machines over an unpacked image (processes, gVisor) for tests: made, given a workspace, asked."""

import os
import secrets
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import GuestMount, Hypervisor, MicroVM
from luminaguard.vm.spec import VmSpec
from vm_fixtures import imaged

WORKSPACE = "/srv/project"


def state(pid: int) -> str:
    """Return a process's state; an OSError says that there is none."""
    about = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return about.rpartition(")")[2].split()[0]


def lives(pid: int) -> bool:
    """Whether a process is there, and not only its exit status for a parent that is slow to ask."""
    try:
        return state(pid) not in {"Z", "X"}
    except OSError:
        return False


@contextmanager
def imaged_disks(
    tree: Path, place: Path, *, filesystem: str = "squashfs", scratch_mib: int = 64
) -> Generator[tuple[int, int]]:
    """Give an image of `tree` and an empty scratch disk, made in `place`."""
    image = imaged(tree, place / "image", filesystem)
    scratch = scratch_disk(place, scratch_mib * 1024 * 1024)
    yield image, scratch
    os.close(image)
    os.close(scratch)


@contextmanager
def small_disks(place: Path, *, scratch_mib: int = 64) -> Generator[tuple[int, int]]:
    """Give an image that holds a.txt and an empty folder, and an empty scratch disk."""
    (place / "tree" / "folder").mkdir(parents=True)
    (place / "tree" / "a.txt").write_text("old\n")
    with imaged_disks(place / "tree", place, scratch_mib=scratch_mib) as disks:
        yield disks


@asynccontextmanager
async def reseeded(hypervisor: Hypervisor, spec: VmSpec) -> AsyncGenerator[MicroVM]:
    """Give a machine that takes commands."""
    async with await hypervisor.boot(spec) as machine:
        await machine.reseed(secrets.token_bytes(64), time.time_ns())
        yield machine


@asynccontextmanager
async def furnished(
    hypervisor: Hypervisor, spec: VmSpec, disks: tuple[int, int], *, at: str = WORKSPACE
) -> AsyncGenerator[MicroVM]:
    """Give a machine with a workspace."""
    async with reseeded(hypervisor, spec) as machine:
        await machine.attach(workspace_fd=disks[0], scratch_fd=disks[1])
        await machine.mount(GuestMount(path=at, filesystem="squashfs"))
        yield machine


async def shell(machine: MicroVM, script: str, cwd: str = "/") -> GuestReport:
    """Run a script."""
    return await machine.execute(Execution(argv=("sh", "-c", script), cwd=cwd, timeout_s=30))
