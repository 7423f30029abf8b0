"""A micro-VM over whatever runs it: the life, the locks and the guest, written once.

An `Engine` is what differs between backends: how a machine is paused, given its disks, saved and
ended. Everything that the contract of `MicroVM` demands besides is here.
"""

from pathlib import Path
from typing import Protocol

import anyio

from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, TemplateError, VmError, VmStateError
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.lifecycle import VmEvent, VmState, after
from luminaguard.vm.living import LivingMachine


class Engine(Protocol):
    """One running machine, without its guest. A failed operation leaves it to be ended."""

    @property
    def pid(self) -> int:
        """Process id of what runs the machine; of this process where the system tells no other."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        ...

    @property
    def slot_bytes(self) -> int:
        """Size of each disk slot."""
        ...

    async def pause(self) -> None:
        """Stop its processors; they run."""
        ...

    async def resume(self) -> None:
        """Let its processors go on; they are stopped."""
        ...

    async def give_disks(self, workspace_fd: int, scratch_fd: int) -> None:
        """Bring the content of both files into the slots; called once."""
        ...

    async def save(self, directory: Path) -> None:
        """Write the running machine as a template; it need not run on afterwards."""
        ...

    async def end(self) -> None:
        """End it, and remove what it had on the host. Called once."""
        ...


class EngineMachine(LivingMachine):
    """A `MicroVM` over an engine and the channel to its guest."""

    def __init__(self, engine: Engine, client: GuestClient, isolation: Isolation) -> None:
        """Take both over; `ready` must follow once the guest has answered."""
        super().__init__(client, isolation)
        self._engine = engine
        self._has_disks = False

    @property
    def pid(self) -> int:
        """Process id of what runs the machine."""
        return self._engine.pid

    @property
    def _alive(self) -> bool:
        return self._engine.alive

    @property
    def _slot_bytes(self) -> int:
        return self._engine.slot_bytes

    async def _finish(self) -> None:
        await self._engine.end()

    async def attach(self, *, workspace_fd: int, scratch_fd: int) -> None:
        """Give the machine its disks, once in its life."""
        state = self.state
        self._require_disks_fit(workspace_fd, scratch_fd)
        if self._has_disks:
            raise VmStateError("the machine has its disks already", state=state.value)
        self._has_disks = True
        async with self._machinery():
            await self._engine.give_disks(workspace_fd, scratch_fd)

    async def pause(self) -> None:
        """Stop the guest's processors."""
        following = after(self.state, VmEvent.PAUSE)
        if self._state is not VmState.PAUSED:
            async with self._machinery():
                await self._engine.pause()
        self._state = following

    async def resume(self) -> None:
        """Let the guest go on."""
        following = after(self.state, VmEvent.RESUME)
        if self._state is not VmState.RUNNING:
            async with self._machinery():
                await self._engine.resume()
        self._state = following

    async def snapshot(self, directory: Path) -> None:
        """Save the machine as a template, and stop it.

        Raises:
            TemplateError: it has its disks already, or could not be saved.
        """
        after(self.state, VmEvent.SNAPSHOT)
        if self._has_disks:
            raise TemplateError(
                "a machine with a workspace cannot become a template",
                hint="boot a machine and save that",
            )
        try:
            self._client.close()  # a saved guest must not believe that somebody is connected
            async with self._machinery():
                await self._engine.save(directory)
        except (GuestLost, TemplateError):
            raise
        except (VmError, OSError) as problem:
            raise TemplateError(f"the machine was not saved: {problem}") from problem
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(VmEvent.STOP)
