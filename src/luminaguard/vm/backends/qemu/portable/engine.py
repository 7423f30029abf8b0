"""A plain QEMU as the engine of a micro-VM."""

from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.domain.calls import JsonValue
from luminaguard.errors import TemplateError
from luminaguard.vm.backends.qemu.command import NODE_SCRATCH, NODE_WORKSPACE
from luminaguard.vm.backends.qemu.portable.process import PlainProcess
from luminaguard.vm.backends.qemu.qmp import Qmp
from luminaguard.vm.slots import SCRATCH, WORKSPACE, PrivateDirectory, fill


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableEngine:
    """A QEMU that runs, and what belongs to it."""

    process: PlainProcess
    qmp: Qmp
    directory: PrivateDirectory
    slot_bytes: int

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether QEMU has not ended."""
        return self.process.alive

    async def pause(self) -> None:
        """Stop its processors."""
        await self.qmp.execute("stop")

    async def resume(self) -> None:
        """Let its processors go on."""
        await self.qmp.execute("cont")

    async def give_disks(self, workspace_fd: int, scratch_fd: int) -> None:
        """Copy both files into the slots' own, and swap those in for the placeholders."""
        parts = (
            (NODE_WORKSPACE, WORKSPACE, workspace_fd, True),
            (NODE_SCRATCH, SCRATCH, scratch_fd, False),
        )
        for node, name, fd, read_only in parts:
            path = self.directory.path / name
            await run_sync(fill, path, fd)
            await self._swap(node, path, read_only=read_only)

    async def save(self, directory: Path) -> None:
        """Refuse.

        Raises:
            TemplateError: always.
        """
        raise TemplateError(
            f"{directory.name}: QEMU's machines are not saved on this system",
            hint="boot machines ahead of use instead",
        )

    async def end(self) -> None:
        """Kill QEMU and remove its directory."""
        try:
            await self.process.end()
            await self.qmp.close()
        finally:
            await run_sync(self.directory.remove)

    async def _swap(self, node: str, path: Path, *, read_only: bool) -> None:
        source = f"{node}-file"
        await self.qmp.execute(
            "blockdev-add",
            driver="file",
            node_name=source,
            filename=str(path),
            read_only=read_only,
            locking="off",
            discard="unmap",
            cache={"direct": False, "no-flush": True},
        )
        options: dict[str, JsonValue] = {
            "driver": "raw",
            "node-name": node,
            "file": source,
            "read-only": read_only,
        }
        await self.qmp.execute("blockdev-reopen", options=[options])
