"""Making a guest of a fresh Firecracker: booted from its image, or woken from a template."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.domain.isolation import Jail
from luminaguard.errors import TemplateError
from luminaguard.vm.backends.firecracker.api.bodies import (
    BootSource,
    MemoryBackend,
    MemoryBackendType,
    SnapshotLoad,
)
from luminaguard.vm.backends.firecracker.api.faults import ApiRefused
from luminaguard.vm.backends.firecracker.files import BootFiles
from luminaguard.vm.backends.firecracker.launched import Launched, TemplateMemory
from luminaguard.vm.backends.firecracker.pagefaults import FaultServer
from luminaguard.vm.backends.firecracker.room import WRITABLE, Room
from luminaguard.vm.backends.firecracker.shape import (
    AGENT_PORT,
    ROOT,
    SCRATCH,
    VSOCK,
    WORKSPACE,
    Shape,
    drives,
    kernel_line,
    vsock,
)
from luminaguard.vm.backends.firecracker.template import LoadedTemplate, MemoryMode
from luminaguard.vm.backends.firecracker.vsock import reach_agent
from luminaguard.vm.guest import GuestClient

KERNEL, INITRD, STATE, MEMORY = "kernel", "initrd", "state", "memory"
_FAULTS = "faults.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A guest whose agent has answered."""

    client: GuestClient
    jail: Jail
    pages: FaultServer | None = None
    """What serves its page faults; to be closed after Firecracker."""


async def boot(
    launched: Launched, shape: Shape, files: BootFiles, *, limit_s: float, console: bool = False
) -> Guest:
    """Boot a guest until its agent answers.

    `console`: let the guest's kernel talk, which ends up in Firecracker's own output.

    Raises:
        ApiRefused: Firecracker does not take the machine.
        GuestLost: no answer in time, or Firecracker ended.
        HypervisorUnavailable: the jail is below the minimum.
    """
    room, api = launched.room, launched.api
    kernel, initrd = await run_sync(_lend_boot, room, files)
    await run_sync(_lend_disks, room, shape, files.root)
    await api.put_machine_config(shape.machine_config)
    line = kernel_line(shape.profile, console=console)
    source = BootSource(kernel_image_path=kernel, initrd_path=initrd, boot_args=line)
    await api.put_boot_source(source)
    for drive in drives():
        await api.put_drive(drive)
    await api.put_vsock(vsock())
    await api.start()
    jail = launched.vmm.jail(room, None)
    client = await _agent(launched, limit_s)
    for inside in (kernel, initrd):
        room.forget(inside)
    return Guest(client=client, jail=jail)


async def wake(
    launched: Launched, shape: Shape, root: Path, template: LoadedTemplate, *, limit_s: float
) -> Guest:
    """Let a saved guest go on in a fresh Firecracker.

    Raises:
        TemplateError: Firecracker does not take what was saved.
        GuestLost: no answer in time, or Firecracker ended.
        HypervisorUnavailable: the jail is below the minimum.
    """
    room, api = launched.room, launched.api
    await run_sync(_lend_disks, room, shape, root)
    state = await run_sync(room.lend, template.state, STATE)
    pages: FaultServer | None = None
    if template.mode is MemoryMode.UFFD:
        pages = FaultServer(room.listen(_FAULTS), template.memory)
        memory = TemplateMemory(sealed=template.memory)
        backend = MemoryBackend(
            backend_type=MemoryBackendType.UFFD, backend_path=f"{WRITABLE}/{_FAULTS}"
        )
    else:
        inside = await run_sync(room.lend, template.memory, MEMORY)
        memory = TemplateMemory(inside=inside)
        backend = MemoryBackend(backend_type=MemoryBackendType.FILE, backend_path=inside)
    try:
        await _load(launched, SnapshotLoad(snapshot_path=state, mem_backend=backend))
        jail = launched.vmm.jail(room, memory)
        await api.resume()
        client = await _agent(launched, limit_s)
    except BaseException:
        if pages is not None:
            await launched.end()  # first: while it lives, it may wait for a page
            pages.close()
        raise
    return Guest(client=client, jail=jail, pages=pages)


async def _load(launched: Launched, snapshot: SnapshotLoad) -> None:
    try:
        await launched.api.load_snapshot(snapshot)
    except ApiRefused as refused:
        raise TemplateError(
            f"Firecracker does not take the template: {refused.fault}",
            hint="delete LuminaGuard's cached templates, so that they are built anew",
        ) from refused


async def _agent(launched: Launched, limit_s: float) -> GuestClient:
    return await reach_agent(
        lambda: launched.room.connect(VSOCK),
        AGENT_PORT,
        limit_s=limit_s,
        alive=lambda: launched.vmm.alive,
    )


def _lend_boot(room: Room, files: BootFiles) -> tuple[str, str]:
    with _opened(files.kernel) as kernel, _opened(files.initrd) as initrd:
        return room.lend(kernel, KERNEL), room.lend(initrd, INITRD)


def _lend_disks(room: Room, shape: Shape, root: Path) -> None:
    with _opened(root) as disk:
        room.lend(disk, ROOT)
    room.placeholder(WORKSPACE, shape.disk_limit_bytes, writable=False)
    room.placeholder(SCRATCH, shape.disk_limit_bytes, writable=True)


@contextmanager
def _opened(path: Path) -> Generator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)
