"""One gVisor guest as the rest of LuminaGuard sees it."""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, TemplateError, VmError, VmStateError, WireError
from luminaguard.vm.backends.gvisor import trees
from luminaguard.vm.backends.gvisor.bundle import Bundle
from luminaguard.vm.backends.gvisor.sandbox import Sandbox
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmEvent, VmState, after
from luminaguard.vm.spec import VmSpec

_STOP_LIMIT_S = 30.0
_MIB = 1024 * 1024


class GvisorMachine:
    """A `MicroVM` run by runsc."""

    def __init__(
        self, sandbox: Sandbox, bundle: Bundle, isolation: Isolation, spec: VmSpec
    ) -> None:
        """Take over a sandbox whose guest has answered; `ready` must follow."""
        self.id = secrets.token_hex(16)
        self._sandbox = sandbox
        self._bundle = bundle
        self._isolation = isolation
        self._spec = spec
        self._state = VmState.STARTING
        self._spawn_ms = 0.0
        self._mounted = False
        self._ending = anyio.Lock()
        self._ended = False

    def ready(self, spawn_ms: float) -> None:
        """Note that the guest answered, `spawn_ms` after the machine was asked for."""
        self._state = after(self._state, VmEvent.READY)
        self._spawn_ms = spawn_ms

    @property
    def pid(self) -> int:
        """Process id of the sentry: the guest's kernel."""
        return self._sandbox.pid

    @property
    def state(self) -> VmState:
        """Where the machine stands now; a sandbox found dead is a stopped machine."""
        if not self._sandbox.alive:
            self._state = after(self._state, VmEvent.LOST)
        return self._state

    @property
    def isolation(self) -> Isolation:
        """Tier and jail layers, as read from the running processes."""
        return self._isolation

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
        """Show the guest the workspace image's files, unpacked into the machine's own directory.

        Of the scratch disk only its size counts: what commands write lies in the sandbox's memory,
        at most half of what the machine has.
        """
        state = self.state
        if state not in {VmState.RUNNING, VmState.PAUSED}:
            raise VmStateError(f"a {state} machine takes no disks", state=state.value)
        if self._mounted:
            raise VmStateError("the workspace is mounted: it cannot be swapped", state=state.value)
        for name, fd in (("workspace image", workspace_fd), ("scratch disk", scratch_fd)):
            self._check_size(name, fd)
        await run_sync(self._furnish, workspace_fd, os.fstat(scratch_fd).st_size)

    def _furnish(self, workspace_fd: int, scratch_bytes: int) -> None:
        trees.empty(self._bundle.lower)
        trees.unpack(workspace_fd, self._bundle.lower)
        most = self._spec.memory_mib * _MIB // 2
        self._bundle.limit_scratch(min(scratch_bytes, most))

    def _check_size(self, name: str, fd: int) -> None:
        size, limit = os.fstat(fd).st_size, self._spec.disk_limit_bytes
        if size > limit:
            raise VmError(
                f"the {name} has {size} bytes, the machine's disk slot {limit}",
                hint="leave something out, or raise the disk limit",
            )

    async def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Allow commands: randomness and time are the host's own, asked for at each call."""
        async with self._guest():
            await self._sandbox.client.reseed(entropy, wall_clock_ns)

    async def mount(self, mount: GuestMount) -> None:
        """Mount scratch space and overlay."""
        async with self._guest():
            await self._sandbox.client.mount(mount)
            self._mounted = True

    async def exercise(self) -> None:
        """Run a few commands of our own."""
        async with self._guest():
            await self._sandbox.client.exercise()

    async def execute(self, execution: Execution) -> GuestReport:
        """Run a command to its end, then kill whatever it left."""
        async with self._guest():
            return await self._sandbox.client.execute(execution)

    async def harvest(self, *, skip: Sequence[bytes] = ()) -> AsyncIterator[UpperRecord]:
        """Stream the overlay's upper layer."""
        async with self._guest():
            async for record in self._sandbox.client.harvest(skip=skip):
                yield record

    async def pause(self) -> None:
        """Stop every process of the guest."""
        await self._change(VmEvent.PAUSE, "pause")

    async def resume(self) -> None:
        """Let the guest go on."""
        await self._change(VmEvent.RESUME, "resume")

    async def snapshot(self, directory: Path) -> None:
        """Refuse: a restored sandbox would not get its channel back.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        del directory
        after(self.state, VmEvent.SNAPSHOT)
        raise TemplateError("gVisor machines are not saved", hint="boot one for every use")

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
            await self._sandbox.end()

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
            killed = self._sandbox.cgroup.ran_out_of_memory()
            await self._lost()
            if killed:
                raise GuestLost(
                    "the machine used more memory than it may, and was killed",
                    hint="raise vm.memory_mib",
                ) from problem
            raise

    async def _change(self, event: VmEvent, command: str) -> None:
        state = self.state
        following = after(state, event)
        if following is not state:
            try:
                await self._sandbox.control(command)
            except BaseException:
                await self._lost()  # nobody knows what it is now
                raise
        self._state = following
