"""One Firecracker guest as the rest of LuminaGuard sees it."""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
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
from luminaguard.vm.backends.firecracker.api.bodies import DriveChange, SnapshotCreate
from luminaguard.vm.backends.firecracker.api.faults import ApiRefused
from luminaguard.vm.backends.firecracker.launched import Launched
from luminaguard.vm.backends.firecracker.room import WRITABLE
from luminaguard.vm.backends.firecracker.saving import keep_saved
from luminaguard.vm.backends.firecracker.shape import SCRATCH, WORKSPACE, Shape
from luminaguard.vm.backends.firecracker.start import Guest
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmEvent, VmState, after

_STOP_LIMIT_S = 30.0
_SETTLE_LIMIT_S = 10.0
_SETTLE_POLL_S = 0.1
_HANG_UP_POLL_S = 0.05
_SETTLE_QUIET = 3
"""Polls in a row in which the guest used less than a tenth of a CPU."""
_METRICS_LIMIT_S = 5.0
_SAVED_STATE, _SAVED_MEMORY = "saved-state", "saved-memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a machine comes from."""

    shape: Shape
    key: str
    """Key of the template that it came from, or would make."""
    isolation: Isolation


class FirecrackerMachine:
    """A `MicroVM` run by Firecracker."""

    def __init__(self, launched: Launched, guest: Guest, origin: Origin) -> None:
        """Take over a Firecracker whose guest has answered; `ready` must follow."""
        self.id = secrets.token_hex(16)
        self._launched = launched
        self._client = guest.client
        self._pages = guest.pages
        self._origin = origin
        self._state = VmState.STARTING
        self._spawn_ms = 0.0
        self._swaps = 0
        self._lent: list[str] = []
        self._ending = anyio.Lock()
        self._ended = False

    def ready(self, spawn_ms: float) -> None:
        """Note that the guest answered, `spawn_ms` after the machine was asked for."""
        self._state = after(self._state, VmEvent.READY)
        self._spawn_ms = spawn_ms

    @property
    def pid(self) -> int:
        """Process id of Firecracker."""
        return self._launched.vmm.pid

    @property
    def state(self) -> VmState:
        """Where the machine stands now; a Firecracker found dead is a stopped machine."""
        served = self._pages is None or self._pages.failure is None
        if not (self._launched.vmm.alive and served):
            self._state = after(self._state, VmEvent.LOST)
        return self._state

    @property
    def isolation(self) -> Isolation:
        """Tier, jail layers as read from the running process, and the guest's hardening."""
        return self._origin.isolation

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
        """Swap the two disk slots' placeholders for these open files.

        Works on a paused machine too: Firecracker opens the new file at once, and the interrupt
        that tells the guest of it waits until the guest runs again.
        """
        state = self.state
        if state not in {VmState.RUNNING, VmState.PAUSED}:
            raise VmStateError(f"a {state} machine takes no disks", state=state.value)
        for name, fd in (("workspace image", workspace_fd), ("scratch disk", scratch_fd)):
            self._check_size(name, fd)
        async with self._machinery():
            earlier, self._lent = self._lent, []
            await self._swap(WORKSPACE, workspace_fd, writable=False)
            await self._swap(SCRATCH, scratch_fd, writable=True)
            for inside in earlier:
                self._launched.room.forget(inside)

    async def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Give the guest fresh randomness and the time; commands are refused before."""
        async with self._guest():
            await self._client.reseed(entropy, wall_clock_ns)

    async def mount(self, mount: GuestMount) -> None:
        """Mount scratch, workspace image and overlay."""
        async with self._guest():
            await self._client.mount(mount)

    async def execute(self, execution: Execution) -> GuestReport:
        """Run a command to its end, then kill whatever it left."""
        async with self._guest():
            return await self._client.execute(execution)

    async def exercise(self) -> None:
        """Run what makes the guest warm."""
        async with self._guest():
            await self._client.exercise()

    async def settle(self, poll_s: float = _SETTLE_POLL_S) -> None:
        """Wait, bounded, until the guest has cleaned up after what it did last.

        What is still to be done when a machine is saved, every clone of it would do again.
        """
        vmm = self._launched.vmm
        with anyio.move_on_after(_SETTLE_LIMIT_S):
            used_s, quiet = vmm.cpu_s(), 0
            while quiet < _SETTLE_QUIET:
                await anyio.sleep(poll_s)
                before_s, used_s = used_s, vmm.cpu_s()
                quiet = quiet + 1 if used_s - before_s <= poll_s / 10 else 0

    async def harvest(self, *, skip: Sequence[bytes] = ()) -> AsyncIterator[UpperRecord]:
        """Stream the overlay's upper layer."""
        async with self._guest():
            async for record in self._client.harvest(skip=skip):
                yield record

    async def pause(self) -> None:
        """Stop the guest's CPU."""
        following = after(self.state, VmEvent.PAUSE)
        if self._state is not VmState.PAUSED:
            async with self._machinery():
                await self._launched.api.pause()
        self._state = following

    async def resume(self) -> None:
        """Let the guest go on."""
        following = after(self.state, VmEvent.RESUME)
        if self._state is not VmState.RUNNING:
            async with self._machinery():
                await self._launched.api.resume()
        self._state = following

    async def metrics(self) -> Mapping[str, object]:
        """Return Firecracker's own metrics, as of now. Claims of a process that may be hostile."""
        state = self.state
        if state not in {VmState.RUNNING, VmState.PAUSED}:
            raise VmStateError(f"a {state} machine has no metrics", state=state.value)
        async with self._machinery():
            await self._launched.api.flush_metrics()
            return await self._launched.metrics.latest(_METRICS_LIMIT_S)

    async def snapshot(self, directory: Path) -> None:
        """Save the machine as a template, and stop it.

        Raises:
            TemplateError: Firecracker could not save it.
        """
        after(self.state, VmEvent.SNAPSHOT)
        room = self._launched.room
        saved: list[int] = []
        try:
            async with self._machinery():
                # What is under way on the socket device when a machine is saved may block it in
                # every clone. Source: Firecracker issues 2218 and 5969.
                self._client.close()
                await self.settle(_HANG_UP_POLL_S)
                await self._write_snapshot()
                for name, size in (
                    (_SAVED_STATE, self._origin.shape.memory_bytes),
                    (_SAVED_MEMORY, self._origin.shape.memory_bytes),
                ):
                    saved.append(room.collect(name, size))
                await self._launched.vmm.end()
            state, memory = saved
            size = self._origin.shape.memory_bytes
            await run_sync(keep_saved, directory, self._origin.key, state, memory, size)
        finally:
            for fd in saved:
                os.close(fd)
            with anyio.CancelScope(shield=True):
                await self._end(VmEvent.STOP)

    async def stop(self) -> None:
        """End the machine and wait until it is gone. Idempotent; works in every state."""
        with anyio.move_on_after(_STOP_LIMIT_S, shield=True):
            await self._end(VmEvent.STOP)

    async def _write_snapshot(self) -> None:
        api = self._launched.api
        try:
            await api.pause()
            await api.create_snapshot(
                SnapshotCreate(
                    snapshot_path=f"{WRITABLE}/{_SAVED_STATE}",
                    mem_file_path=f"{WRITABLE}/{_SAVED_MEMORY}",
                )
            )
        except ApiRefused as refused:
            raise TemplateError(f"Firecracker could not save the machine: {refused}") from refused

    async def _end(self, event: VmEvent) -> None:
        async with self._ending:
            self._state = after(self._state, event)
            if self._ended:
                return
            self._ended = True
            self._client.close()
            await self._launched.end()
            if self._pages is not None:
                self._pages.close()

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
        """Talk to Firecracker; if that fails half way, nobody knows what the machine is: end it."""
        try:
            yield
        except (VmError, OSError, TimeoutError):
            await self._lost()
            raise

    def _check_size(self, name: str, fd: int) -> None:
        size, limit = os.fstat(fd).st_size, self._origin.shape.disk_limit_bytes
        if size > limit:
            raise VmError(
                f"the {name} has {size} bytes, the machine's disk slot {limit}",
                hint="leave something out, or raise the disk limit",
            )

    async def _swap(self, drive: str, fd: int, *, writable: bool) -> None:
        self._swaps += 1
        name = f"{drive}-{self._swaps}"
        room = self._launched.room
        inside = await run_sync(lambda: room.lend(fd, name, writable=writable))
        self._lent.append(inside)
        await self._launched.api.patch_drive(DriveChange(drive_id=drive, path_on_host=inside))
