"""A micro-VM over whatever runs it: the life, the locks and the guest, written once.

An `Engine` is what differs between backends: how a machine is paused, given its disks, saved and
ended. Everything that the contract of `MicroVM` demands besides is here.
"""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import anyio

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, TemplateError, VmError, VmStateError, WireError
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmEvent, VmState, after

_STOP_LIMIT_S = 30.0


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


class EngineMachine:
    """A `MicroVM` over an engine and the channel to its guest."""

    def __init__(self, engine: Engine, client: GuestClient, isolation: Isolation) -> None:
        """Take both over; `ready` must follow once the guest has answered."""
        self.id = secrets.token_hex(16)
        self.isolation = isolation
        """Tier, jail layers and the guest's profile."""
        self._engine = engine
        self._client = client
        self._state = VmState.STARTING
        self._spawn_ms = 0.0
        self._has_disks = False
        self._ending = anyio.Lock()
        self._ended = False

    def ready(self, spawn_ms: float) -> None:
        """Note that the guest answered, `spawn_ms` after the machine was asked for."""
        self._state = after(self._state, VmEvent.READY)
        self._spawn_ms = spawn_ms

    @property
    def pid(self) -> int:
        """Process id of what runs the machine."""
        return self._engine.pid

    @property
    def state(self) -> VmState:
        """Where the machine stands now; one found ended is a stopped machine."""
        if not self._engine.alive:
            self._state = after(self._state, VmEvent.LOST)
        return self._state

    @property
    def spawn_ms(self) -> float:
        """From the request for the machine to the guest's first answer."""
        return self._spawn_ms

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def attach(self, *, workspace_fd: int, scratch_fd: int) -> None:
        """Give the machine its disks, once in its life."""
        state = self.state
        if state not in {VmState.RUNNING, VmState.PAUSED}:
            raise VmStateError(f"a {state} machine takes no disks", state=state.value)
        if self._has_disks:
            raise VmStateError("the machine has its disks already", state=state.value)
        for fd, name in ((workspace_fd, "workspace image"), (scratch_fd, "scratch disk")):
            self._check_size(fd, name)
        self._has_disks = True
        async with self._machinery():
            await self._engine.give_disks(workspace_fd, scratch_fd)

    async def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Give the guest fresh randomness and the time; commands are refused before."""
        async with self._guest():
            await self._client.reseed(entropy, wall_clock_ns)

    async def mount(self, mount: GuestMount) -> None:
        """Mount scratch, workspace image and overlay."""
        async with self._guest():
            await self._client.mount(mount)

    async def exercise(self) -> None:
        """Run what makes the guest warm."""
        async with self._guest():
            await self._client.exercise()

    async def execute(self, execution: Execution) -> GuestReport:
        """Run a command to its end, then kill whatever it left."""
        async with self._guest():
            return await self._client.execute(execution)

    async def harvest(self, *, skip: Sequence[bytes] = ()) -> AsyncIterator[UpperRecord]:
        """Stream the overlay's upper layer."""
        async with self._guest():
            async for record in self._client.harvest(skip=skip):
                yield record

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

    async def stop(self) -> None:
        """End the machine and wait until it is gone. Idempotent; works in every state."""
        with anyio.move_on_after(_STOP_LIMIT_S, shield=True):
            await self._end(VmEvent.STOP)

    async def _end(self, event: VmEvent) -> None:
        async with self._ending:
            self._state = after(self._state, event)
            if self._ended:
                return
            self._ended = True
            self._client.close()
            await self._engine.end()

    async def _lost(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._end(VmEvent.LOST)

    @asynccontextmanager
    async def _guest(self) -> AsyncGenerator[None]:
        """Allow a request to the guest; a guest that is lost or lies takes its machine along."""
        after(self.state, VmEvent.REQUEST)
        try:
            yield
        except (GuestLost, WireError):
            await self._lost()
            raise

    @asynccontextmanager
    async def _machinery(self) -> AsyncGenerator[None]:
        """Change the machine; if that fails half way, nobody knows what it is: end it."""
        try:
            yield
        except (VmError, OSError):
            await self._lost()
            raise

    def _check_size(self, fd: int, name: str) -> None:
        size, limit = os.fstat(fd).st_size, self._engine.slot_bytes
        if size > limit:
            raise VmError(
                f"the {name} has {size} bytes, the machine's disk slot {limit}",
                hint="leave something out, or raise the disk limit",
            )
