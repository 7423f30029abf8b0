"""One QEMU guest as the rest of LuminaGuard sees it."""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, TemplateError, VmError, VmStateError, WireError
from luminaguard.vm.backends.qemu.command import NODE_SCRATCH, NODE_WORKSPACE, Shape
from luminaguard.vm.backends.qemu.launch import Launched
from luminaguard.vm.backends.qemu.template import STATE, write_template
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmEvent, VmState, after

_SAVE_LIMIT_S = 60.0
_SAVE_POLL_S = 0.005
_STOP_LIMIT_S = 30.0
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


class QemuMachine:
    """A `MicroVM` run by QEMU."""

    def __init__(self, launched: Launched, origin: Origin) -> None:
        """Take over a launched QEMU; `ready` must follow once the guest has answered."""
        self.id = secrets.token_hex(16)
        self._launched = launched
        self._origin = origin
        self._state = VmState.STARTING
        self._spawn_ms = 0.0
        self._fdset = _FIRST_FDSET
        self._ending = anyio.Lock()
        self._ended = False

    def ready(self, spawn_ms: float) -> None:
        """Note that the guest answered, `spawn_ms` after the machine was asked for."""
        self._state = after(self._state, VmEvent.READY)
        self._spawn_ms = spawn_ms

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        return self._launched.process.pid

    @property
    def state(self) -> VmState:
        """Where the machine stands now; a QEMU found dead is a stopped machine."""
        if not self._launched.process.alive:
            self._state = after(self._state, VmEvent.LOST)
        return self._state

    @property
    def isolation(self) -> Isolation:
        """Tier and jail layers, as read from the running process."""
        return self._launched.isolation

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
        """Swap the two disk slots' placeholders for these open files."""
        state = self.state
        if state not in {VmState.RUNNING, VmState.PAUSED}:
            raise VmStateError(f"a {state} machine takes no disks", state=state.value)
        for name, fd in (("workspace image", workspace_fd), ("scratch disk", scratch_fd)):
            self._check_size(name, fd)
        # A description of its own, read-only: QEMU could not write the image even if it broke out.
        image = os.open(f"/proc/self/fd/{workspace_fd}", os.O_RDONLY)
        try:
            async with self._machinery():
                await self._swap(NODE_WORKSPACE, image, read_only=True)
                await self._swap(NODE_SCRATCH, scratch_fd, read_only=False)
        finally:
            os.close(image)

    async def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Give the guest fresh randomness and the time; commands are refused before."""
        async with self._guest():
            await self._launched.client.reseed(entropy, wall_clock_ns)

    async def mount(self, mount: GuestMount) -> None:
        """Mount scratch, workspace image and overlay."""
        async with self._guest():
            await self._launched.client.mount(mount)

    async def execute(self, execution: Execution) -> GuestReport:
        """Run a command to its end, then kill whatever it left."""
        async with self._guest():
            return await self._launched.client.execute(execution)

    async def exercise(self) -> None:
        """Run what makes the guest warm; with disks for it, from a workspace's mount to its end."""
        if self._origin.rehearsal is None:
            async with self._guest():
                await self._launched.client.exercise()
            return
        image, scratch = await run_sync(self._origin.rehearsal)
        try:
            await self.attach(workspace_fd=image, scratch_fd=scratch)
        finally:
            os.close(image)
            os.close(scratch)
        client = self._launched.client
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

    async def harvest(self, *, skip: Sequence[bytes] = ()) -> AsyncIterator[UpperRecord]:
        """Stream the overlay's upper layer."""
        async with self._guest():
            async for record in self._launched.client.harvest(skip=skip):
                yield record

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
            await self._launched.end()
            if self._origin.own_memory is not None:
                os.close(self._origin.own_memory)

    async def _lost(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._end(VmEvent.LOST)

    @asynccontextmanager
    async def _guest(self) -> AsyncGenerator[None]:
        """Allow a request to the guest; a guest that is lost or lies takes its machine along."""
        after(self.state, VmEvent.REQUEST)
        try:
            yield
        except (GuestLost, WireError) as problem:
            killed = self._launched.cgroup.ran_out_of_memory()
            await self._lost()
            if killed:
                raise GuestLost(
                    "the machine used more memory than it may, and was killed",
                    hint="keep the cache directory on a disk: on a tmpfs it counts as memory",
                ) from problem
            raise

    @asynccontextmanager
    async def _machinery(self) -> AsyncGenerator[None]:
        """Talk to QEMU; if that fails half way, nobody knows what the machine is: end it."""
        try:
            yield
        except (VmError, OSError, TimeoutError):
            await self._lost()
            raise

    async def _change(self, event: VmEvent, command: str) -> None:
        following = after(self.state, event)
        async with self._machinery():
            await self._launched.qmp.execute(command)
        self._state = following

    def _check_size(self, name: str, fd: int) -> None:
        size, limit = os.fstat(fd).st_size, self._origin.shape.disk_limit_bytes
        if size > limit:
            raise VmError(
                f"the {name} has {size} bytes, the machine's disk slot {limit}",
                hint="leave something out, or raise the disk limit",
            )

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
