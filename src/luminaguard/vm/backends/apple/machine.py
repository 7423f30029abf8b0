"""A machine of macOS's as the engine of a micro-VM."""

import os
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.vm.backends.apple import saved
from luminaguard.vm.backends.apple.handle import MachineHandle
from luminaguard.vm.slots import SCRATCH, WORKSPACE, PrivateDirectory, fill


@dataclass(frozen=True, slots=True, kw_only=True)
class AppleEngine:
    """A machine that runs, and what belongs to it."""

    handle: MachineHandle
    directory: PrivateDirectory
    identifier: bytes
    key: str
    """Key of the template that it came from, or would make."""
    slot_bytes: int

    @property
    def pid(self) -> int:
        """Process id of LuminaGuard itself: macOS does not tell that of the machine's process."""
        return os.getpid()

    @property
    def alive(self) -> bool:
        """Whether macOS has not reported its end."""
        return self.handle.alive

    async def pause(self) -> None:
        """Stop its processors."""
        await self.handle.pause()

    async def resume(self) -> None:
        """Let its processors go on."""
        await self.handle.resume()

    async def give_disks(self, workspace_fd: int, scratch_fd: int) -> None:
        """Copy both files into the slots. Costs what their content costs; holes cost nothing."""
        await run_sync(fill, self.directory.path / WORKSPACE, workspace_fd)
        await run_sync(fill, self.directory.path / SCRATCH, scratch_fd)

    async def save(self, directory: Path) -> None:
        """Let macOS write its state, then complete the template."""
        await self.handle.pause()
        await self.handle.save(directory / saved.STATE)
        await run_sync(lambda: saved.complete(directory, key=self.key, identifier=self.identifier))

    async def end(self) -> None:
        """Stop it and remove its directory."""
        try:
            await self.handle.end()
        finally:
            await run_sync(self.directory.remove)
