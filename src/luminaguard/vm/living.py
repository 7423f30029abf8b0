"""The life of a micro-VM, written once: states, requests to the guest, loss and end.

A backend adds what differs: how its process is paused, given disks, saved and ended.
"""

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import anyio

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, VmError, VmStateError, WireError
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmEvent, VmState, after

_STOP_LIMIT_S = 30.0


class LivingMachine(ABC):
    """What every `MicroVM` with a guest agent has in common."""

    def __init__(self, client: GuestClient, isolation: Isolation) -> None:
        """Talk to the guest by `client`; `ready` must follow once the guest has answered."""
        self.id = secrets.token_hex(16)
        self.isolation = isolation
        """Tier, jail layers as read from the running process, and the guest's hardening."""
        self._client = client
        self._state = VmState.STARTING
        self._spawn_ms = 0.0
        self._ending = anyio.Lock()
        self._ended = False

    def ready(self, spawn_ms: float) -> None:
        """Note that the guest answered, `spawn_ms` after the machine was asked for."""
        self._state = after(self._state, VmEvent.READY)
        self._spawn_ms = spawn_ms

    @property
    @abstractmethod
    def pid(self) -> int:
        """Process id of what runs the machine."""

    @property
    @abstractmethod
    def _alive(self) -> bool:
        """Whether what runs the machine has not ended yet."""

    @property
    @abstractmethod
    def _slot_bytes(self) -> int:
        """Size of each disk slot."""

    @abstractmethod
    async def _finish(self) -> None:
        """End what runs the machine, and remove what it had on the host. Called once."""

    def _cause_of_loss(self) -> GuestLost | None:
        """Return why a guest was lost, where the host knows better than its channel."""
        return None

    @property
    def state(self) -> VmState:
        """Where the machine stands now; one found dead is a stopped machine."""
        if not self._alive:
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
            await self._finish()

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
            cause = self._cause_of_loss()
            await self._lost()
            if cause is not None:
                raise cause from problem
            raise

    @asynccontextmanager
    async def _machinery(self) -> AsyncGenerator[None]:
        """Change the machine; if that fails half way, nobody knows what it is: end it."""
        try:
            yield
        except (VmError, OSError):  # TimeoutError is an OSError
            await self._lost()
            raise

    def _require_disks_fit(self, workspace_fd: int, scratch_fd: int) -> None:
        """Refuse disks that the state does not allow, or that exceed their slots."""
        state = self.state
        if state not in {VmState.RUNNING, VmState.PAUSED}:
            raise VmStateError(f"a {state} machine takes no disks", state=state.value)
        for name, fd in (("workspace image", workspace_fd), ("scratch disk", scratch_fd)):
            size, limit = os.fstat(fd).st_size, self._slot_bytes
            if size > limit:
                raise VmError(
                    f"the {name} has {size} bytes, the machine's disk slot {limit}",
                    hint="leave something out, or raise the disk limit",
                )
