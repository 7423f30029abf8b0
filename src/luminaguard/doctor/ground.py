"""The proving ground: real machines of this host, made for attacks and thrown away after them."""

import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from luminaguard.config import Settings
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.backends.qemu.machine import QemuMachine
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import GuestMount, Template
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.ignore import IgnoreRules
from luminaguard.workspace.send.imaging import WorkspaceImage, build_image
from luminaguard.workspace.send.scan import scan

SCRATCH_BYTES = 32 * 1024**2
"""Small, so that filling it takes seconds."""
WORKSPACE = "/work/project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A clone with a workspace mounted, and the files behind its disks."""

    vm: QemuMachine
    scratch_fd: int
    image_fd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What attacks are tried on. Everything on it is thrown away afterwards."""

    hypervisor: QemuHypervisor
    template: Template
    settings: Settings
    room: Path
    """An empty private directory on the file system of the cache; its owner removes it."""

    @property
    def cache_dir(self) -> Path:
        """Where scratch disks take their room, and where the template lies."""
        return self.settings.cache_dir

    @asynccontextmanager
    async def machine(self) -> AsyncGenerator[Machine]:
        """Give a fresh clone: disks in, reseeded, a small workspace mounted. Stopped afterwards."""
        with ExitStack() as files:
            image = await to_thread.run_sync(self._image)
            files.callback(image.close)
            scratch = await to_thread.run_sync(scratch_disk, self.cache_dir, SCRATCH_BYTES)
            files.callback(os.close, scratch)
            async with await self.hypervisor.restore(self.template) as vm:
                await vm.attach(workspace_fd=image.fd, scratch_fd=scratch)
                await vm.reseed(secrets.token_bytes(64), time.time_ns())
                await vm.mount(GuestMount(path=WORKSPACE, filesystem=image.filesystem))
                yield Machine(vm=vm, scratch_fd=scratch, image_fd=image.fd)

    def _image(self) -> WorkspaceImage:
        tree = self.room / "workspace"
        tree.mkdir(mode=0o755, exist_ok=True)
        (tree / "a.txt").write_text("a file of the workspace\n", encoding="ascii")
        root = WorkspaceRoot.open(tree)
        try:
            return build_image(root, scan(root, IgnoreRules()), self.room)
        finally:
            root.close()


def is_gone(pid: int) -> bool:
    """Whether no process has this id any more; one that waits to be reaped has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return source.read().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True


Progress = Callable[[str, float | None], None]
"""Told what is under way, and the share of it that is done."""
