"""One guest under Virtualization.framework as the rest of LuminaGuard sees it."""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, TemplateError, VmError, VmStateError, WireError
from luminaguard.vm.backends.apple import saved
from luminaguard.vm.backends.apple.handle import MachineHandle
from luminaguard.vm.backends.apple.slots import (
    SCRATCH,
    WORKSPACE,
    PrivateDirectory,
    check_size,
    fill,
)
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmEvent, VmState, after

_STOP_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A machine that runs, and what belongs to it."""

    handle: MachineHandle
    client: GuestClient
    directory: PrivateDirectory
    isolation: Isolation
    identifier: bytes
    key: str
    """Key of the template that it came from, or would make."""
    slot_bytes: int


class AppleMachine:
    """A `MicroVM` run by macOS."""

    def __init__(self, made: Made) -> None:
        """Take over a machine; `ready` must follow once the guest has answered."""
        self.id = secrets.token_hex(16)
        self._made = made
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
        """Process id of LuminaGuard itself: macOS does not tell that of the machine's process."""
        return os.getpid()

    @property
    def state(self) -> VmState:
        """Where the machine stands now; one that macOS reports ended is a stopped machine."""
        if not self._made.handle.alive:
            self._state = after(self._state, VmEvent.LOST)
        return self._state

    @property
    def isolation(self) -> Isolation:
        """Tier and jail layers."""
        return self._made.isolation

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
        """Write the content of both files into the machine's disks, once in its life.

        Costs what copying the files' content costs; holes cost nothing.
        """
        state = self.state
        if state not in {VmState.RUNNING, VmState.PAUSED}:
            raise VmStateError(f"a {state} machine takes no disks", state=state.value)
        if self._has_disks:
            raise VmStateError("the machine has its disks already", state=state.value)
        parts = (
            (WORKSPACE, workspace_fd, "workspace image"),
            (SCRATCH, scratch_fd, "scratch disk"),
        )
        for _, fd, name in parts:
            check_size(fd, self._made.slot_bytes, name)
        self._has_disks = True
        async with self._machinery():
            for slot, fd, _ in parts:
                await run_sync(fill, self._made.directory.path / slot, fd)

    async def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Give the guest fresh randomness and the time; commands are refused before."""
        async with self._guest():
            await self._made.client.reseed(entropy, wall_clock_ns)

    async def mount(self, mount: GuestMount) -> None:
        """Mount scratch, workspace image and overlay."""
        async with self._guest():
            await self._made.client.mount(mount)

    async def exercise(self) -> None:
        """Run what makes the guest warm."""
        async with self._guest():
            await self._made.client.exercise()

    async def execute(self, execution: Execution) -> GuestReport:
        """Run a command to its end, then kill whatever it left."""
        async with self._guest():
            return await self._made.client.execute(execution)

    async def harvest(self, *, skip: Sequence[bytes] = ()) -> AsyncIterator[UpperRecord]:
        """Stream the overlay's upper layer."""
        async with self._guest():
            async for record in self._made.client.harvest(skip=skip):
                yield record

    async def pause(self) -> None:
        """Stop the guest's processors."""
        following = after(self.state, VmEvent.PAUSE)
        if self._state is not VmState.PAUSED:
            async with self._machinery():
                await self._made.handle.pause()
        self._state = following

    async def resume(self) -> None:
        """Let the guest go on."""
        following = after(self.state, VmEvent.RESUME)
        if self._state is not VmState.RUNNING:
            async with self._machinery():
                await self._made.handle.resume()
        self._state = following

    async def snapshot(self, directory: Path) -> None:
        """Save the machine as a template, and stop it.

        Raises:
            TemplateError: it has its disks already, or macOS could not save it.
        """
        after(self.state, VmEvent.SNAPSHOT)
        if self._has_disks:
            raise TemplateError(
                "a machine with a workspace cannot become a template",
                hint="boot a machine and save that",
            )
        made = self._made
        try:
            made.client.close()  # a saved guest must not believe that somebody is connected
            async with self._machinery():
                await made.handle.pause()
                await made.handle.save(directory / saved.STATE)
            await run_sync(
                lambda: saved.complete(directory, key=made.key, identifier=made.identifier)
            )
        except GuestLost:
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
            self._made.client.close()
            try:
                await self._made.handle.end()
            finally:
                self._ended = True
                await run_sync(self._made.directory.remove)

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
