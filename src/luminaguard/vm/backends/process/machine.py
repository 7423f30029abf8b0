"""One guest among the host's processes as the rest of LuminaGuard sees it."""

import os
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, TemplateError
from luminaguard.vm.backends.process.launch import Processes
from luminaguard.vm.backends.process.spaces import Space
from luminaguard.vm.confinement.cgroups.machine import MachineCgroup
from luminaguard.vm.engine import EngineMachine
from luminaguard.vm.lifecycle import VmEvent, after
from luminaguard.vm.room import Room
from luminaguard.vm.spec import VmSpec

_MIB = 1024 * 1024
_NOT_SAVED = "processes are not saved: boot a machine for every use"


class ProcessEngine:
    """What runs one machine, and what it has of the host."""

    def __init__(
        self, processes: Processes, room: Room, space: Space, cgroup: MachineCgroup, spec: VmSpec
    ) -> None:
        """Take everything over; `end` gives it back."""
        self._processes = processes
        self._room = room
        self._space = space
        self._spec = spec
        self.cgroup = cgroup

    @property
    def pid(self) -> int:
        """Process id of the agent."""
        return self._processes.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._processes.alive

    @property
    def slot_bytes(self) -> int:
        """Size of each disk slot."""
        return self._spec.disk_limit_bytes

    async def pause(self) -> None:
        """Stop all processes."""
        await self._processes.pause()

    async def resume(self) -> None:
        """Let all processes go on."""
        await self._processes.resume()

    async def give_disks(self, workspace_fd: int, scratch_fd: int) -> None:
        """Unpack the workspace image into the machine's own directory.

        Of the scratch disk only its size counts: what commands write lies in memory, at most as
        much as the machine has.
        """
        await run_sync(self._room.furnish, workspace_fd)
        most = self._spec.memory_mib * _MIB
        self._room.limit_scratch(min(os.fstat(scratch_fd).st_size, most))

    async def save(self, directory: Path) -> None:
        """Refuse.

        Raises:
            TemplateError: always.
        """
        raise TemplateError(_NOT_SAVED, directory=str(directory))

    async def end(self) -> None:
        """End all processes, and remove what they had."""
        await self._processes.end()
        await self.cgroup.remove()
        await run_sync(self._room.remove)
        self._space.close()


class ProcessMachine(EngineMachine):
    """A `MicroVM` without a kernel of its own."""

    def __init__(self, engine: ProcessEngine, processes: Processes, isolation: Isolation) -> None:
        """Take over processes whose agent has answered; `ready` must follow."""
        super().__init__(engine, processes.client, isolation)
        self._cgroup = engine.cgroup

    def _cause_of_loss(self) -> GuestLost | None:
        return self._cgroup.cause_of_loss("raise vm.memory_mib")

    async def snapshot(self, directory: Path) -> None:
        """Refuse, and keep the machine.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        after(self.state, VmEvent.SNAPSHOT)
        raise TemplateError(_NOT_SAVED, directory=str(directory))
