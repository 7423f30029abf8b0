"""One QEMU guest as the rest of LuminaGuard sees it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.calls import JsonValue
from luminaguard.errors import GuestLost, TemplateError
from luminaguard.vm.backends.qemu.command import NODE_SCRATCH, NODE_WORKSPACE, Shape
from luminaguard.vm.backends.qemu.launch import Launched
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmEvent, after
from luminaguard.vm.living import LivingMachine
from luminaguard.vm.templates import STATE, write_template

_SAVE_LIMIT_S = 60.0
_SAVE_POLL_S = 0.005
_SETTLE_LIMIT_S = 10.0
_SETTLE_POLL_S = 0.2
_SETTLE_QUIET = 3
"""Polls in a row in which the guest used less than a tenth of a CPU."""
_FIRST_FDSET = 10
_REHEARSAL = GuestMount(path="/tmp/rehearsal", filesystem="erofs")  # noqa: S108 - in the guest
"""On the rehearsal's own scratch disk, so that nothing of it stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a machine comes from."""

    shape: Shape
    key: str
    """Key of the template that it came from, or would make."""
    own_memory: int | None
    """The memory file of a machine that booted; it is closed with the machine. None in a clone,
    whose memory is private to QEMU."""
    rehearsal: Callable[[], tuple[int, int]] | None = None
    """Makes an empty workspace image and a scratch disk, as open files, for `exercise`."""


class QemuMachine(LivingMachine):
    """A `MicroVM` run by QEMU."""

    def __init__(self, launched: Launched, origin: Origin) -> None:
        """Take over a launched QEMU; `ready` must follow once the guest has answered."""
        super().__init__(launched.client, launched.isolation)
        self._launched = launched
        self._origin = origin
        self._fdset = _FIRST_FDSET

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        return self._launched.process.pid

    @property
    def _alive(self) -> bool:
        return self._launched.process.alive

    @property
    def _slot_bytes(self) -> int:
        return self._origin.shape.disk_limit_bytes

    async def _finish(self) -> None:
        await self._launched.end()
        if self._origin.own_memory is not None:
            os.close(self._origin.own_memory)

    def _cause_of_loss(self) -> GuestLost | None:
        return self._launched.cgroup.cause_of_loss(
            "keep the cache directory on a disk: on a tmpfs it counts as memory"
        )

    async def attach(self, *, workspace_fd: int, scratch_fd: int) -> None:
        """Swap the two disk slots' placeholders for these open files."""
        self._require_disks_fit(workspace_fd, scratch_fd)
        # A description of its own, read-only: QEMU could not write the image even if it broke out.
        image = os.open(f"/proc/self/fd/{workspace_fd}", os.O_RDONLY)
        try:
            async with self._machinery():
                await self._swap(NODE_WORKSPACE, image, read_only=True)
                await self._swap(NODE_SCRATCH, scratch_fd, read_only=False)
        finally:
            os.close(image)

    async def exercise(self) -> None:
        """Run what makes the guest warm; with disks for it, from a workspace's mount to its end."""
        if self._origin.rehearsal is None:
            await super().exercise()
            return
        image, scratch = await run_sync(self._origin.rehearsal)
        try:
            await self.attach(workspace_fd=image, scratch_fd=scratch)
        finally:
            os.close(image)
            os.close(scratch)
        client = self._client
        async with self._guest():
            await client.mount(_REHEARSAL)
            await client.exercise()
            async for _ in client.harvest():
                pass
            await client.unmount()
            await client.ping()

    async def settle(self) -> None:
        """Wait, bounded, until the guest's kernel has cleaned up after its last commands.

        What is still to be done when a machine is saved, every clone of it would do again.
        """
        with anyio.move_on_after(_SETTLE_LIMIT_S):
            used_s, quiet = self._launched.process.cpu_s(), 0
            while quiet < _SETTLE_QUIET:
                await anyio.sleep(_SETTLE_POLL_S)
                before_s, used_s = used_s, self._launched.process.cpu_s()
                quiet = quiet + 1 if used_s - before_s <= _SETTLE_POLL_S / 10 else 0

    async def pause(self) -> None:
        """Stop the guest's CPU."""
        await self._change(VmEvent.PAUSE, "stop")

    async def resume(self) -> None:
        """Let the guest go on."""
        await self._change(VmEvent.RESUME, "cont")

    async def snapshot(self, directory: Path) -> None:
        """Save a machine that booted as a template, and stop it.

        Raises:
            TemplateError: the machine is a clone, or QEMU could not save it.
        """
        after(self.state, VmEvent.SNAPSHOT)
        memory = self._origin.own_memory
        if memory is None:
            raise TemplateError(
                "a clone's memory is split between its template and itself: it cannot be saved",
                hint="boot a machine and save that",
            )
        try:
            async with self._machinery():
                await self._save_devices(directory / STATE)
                await self._launched.process.end()
            await run_sync(
                lambda: write_template(
                    directory,
                    key=self._origin.key,
                    memory_fd=memory,
                    size_bytes=self._origin.shape.memory_bytes,
                )
            )
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(VmEvent.STOP)

    async def _change(self, event: VmEvent, command: str) -> None:
        following = after(self.state, event)
        async with self._machinery():
            await self._launched.qmp.execute(command)
        self._state = following

    async def _swap(self, node: str, fd: int, *, read_only: bool) -> None:
        qmp, number = self._launched.qmp, self._fdset
        self._fdset += 1
        await qmp.pass_fd(fd, number)
        source = f"{node}-{number}"
        await qmp.execute(
            "blockdev-add",
            driver="file",
            node_name=source,
            filename=f"/dev/fdset/{number}",
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
        await qmp.execute("blockdev-reopen", options=[options])

    async def _save_devices(self, target: Path) -> None:
        qmp = self._launched.qmp
        fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            await qmp.lend_fd(fd, "state")
        finally:
            os.close(fd)
        await qmp.execute("migrate-set-capabilities", capabilities=[IGNORE_SHARED])
        await qmp.execute("migrate", uri="fd:state")
        with anyio.fail_after(_SAVE_LIMIT_S):
            while True:
                answer = cast("dict[str, object]", await qmp.execute("query-migrate"))
                if answer.get("status") == "completed":
                    return
                if answer.get("status") in {"failed", "cancelled"}:
                    raise TemplateError(f"QEMU could not save the machine: {answer}")
                await anyio.sleep(_SAVE_POLL_S)


IGNORE_SHARED: dict[str, JsonValue] = {"capability": "x-ignore-shared", "state": True}
"""The memory stays where it is: only device state goes through the stream."""
