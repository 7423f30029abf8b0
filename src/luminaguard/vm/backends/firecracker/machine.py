"""One Firecracker guest as the rest of LuminaGuard sees it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import Isolation
from luminaguard.errors import TemplateError, VmStateError
from luminaguard.vm.backends.firecracker.api.bodies import DriveChange, SnapshotCreate
from luminaguard.vm.backends.firecracker.api.faults import ApiRefused
from luminaguard.vm.backends.firecracker.launched import Launched
from luminaguard.vm.backends.firecracker.room import WRITABLE
from luminaguard.vm.backends.firecracker.saving import keep_saved
from luminaguard.vm.backends.firecracker.shape import SCRATCH, WORKSPACE, Shape
from luminaguard.vm.backends.firecracker.start import Guest
from luminaguard.vm.lifecycle import VmEvent, VmState, after
from luminaguard.vm.living import LivingMachine

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


class FirecrackerMachine(LivingMachine):
    """A `MicroVM` run by Firecracker."""

    def __init__(self, launched: Launched, guest: Guest, origin: Origin) -> None:
        """Take over a Firecracker whose guest has answered; `ready` must follow."""
        super().__init__(guest.client, origin.isolation)
        self._launched = launched
        self._pages = guest.pages
        self._origin = origin
        self._swaps = 0
        self._lent: list[str] = []

    @property
    def pid(self) -> int:
        """Process id of Firecracker."""
        return self._launched.vmm.pid

    @property
    def _alive(self) -> bool:
        served = self._pages is None or self._pages.failure is None
        return self._launched.vmm.alive and served

    @property
    def _slot_bytes(self) -> int:
        return self._origin.shape.disk_limit_bytes

    async def _finish(self) -> None:
        await self._launched.end()
        if self._pages is not None:
            self._pages.close()

    async def attach(self, *, workspace_fd: int, scratch_fd: int) -> None:
        """Swap the two disk slots' placeholders for these open files.

        Works on a paused machine too: Firecracker opens the new file at once, and the interrupt
        that tells the guest of it waits until the guest runs again.
        """
        self._require_disks_fit(workspace_fd, scratch_fd)
        async with self._machinery():
            earlier, self._lent = self._lent, []
            await self._swap(WORKSPACE, workspace_fd, writable=False)
            await self._swap(SCRATCH, scratch_fd, writable=True)
            for inside in earlier:
                self._launched.room.forget(inside)

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

    async def _swap(self, drive: str, fd: int, *, writable: bool) -> None:
        self._swaps += 1
        name = f"{drive}-{self._swaps}"
        room = self._launched.room
        inside = await run_sync(lambda: room.lend(fd, name, writable=writable))
        self._lent.append(inside)
        await self._launched.api.patch_drive(DriveChange(drive_id=drive, path_on_host=inside))
