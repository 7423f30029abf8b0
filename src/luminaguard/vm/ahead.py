"""A machine that is on its way before its owner is: nobody waits for what can happen meanwhile."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import anyio

from luminaguard.errors import LuminaGuardError
from luminaguard.vm.hypervisor import MicroVM
from luminaguard.vm.source import Lease, MachineSource


class AwaitedLease:
    """A lease whose owner waited only for the rest of its making."""

    def __init__(self, lease: Lease, waited_ms: float) -> None:
        """Stand for `lease`, which took its owner `waited_ms`."""
        self._lease = lease
        self.timings_ms: Mapping[str, float] = {"restore_ms": waited_ms}

    @property
    def vm(self) -> MicroVM:
        """The machine."""
        return self._lease.vm

    def renew(self) -> None:
        """Say that the owner still needs the machine."""
        self._lease.renew()

    async def release(self) -> None:
        """Destroy the machine."""
        await self._lease.release()


class StartedAhead:
    """A `MachineSource` whose first machine is being made already. See `started_ahead`."""

    def __init__(self, source: MachineSource) -> None:
        """Take machines from `source`; none is asked for yet."""
        self._source = source
        self._settled = anyio.Event()
        self._made: Lease | None = None
        self._problem: LuminaGuardError | None = None
        self._taken = False

    async def lease(self, owner: str) -> Lease:
        """Return the machine that was begun, once; others come from the source.

        Raises:
            PoolFull: too many are waiting at the source.
            VmError: no machine could be made.
            ImageError: there is no image to make it from.
        """
        if self._taken:
            return await self._source.lease(owner)
        self._taken = True
        started_s = time.perf_counter()
        await self._settled.wait()
        if self._problem is not None:
            raise self._problem
        lease, self._made = self._made, None
        if lease is None:
            return await self._source.lease(owner)
        return AwaitedLease(lease, (time.perf_counter() - started_s) * 1000)

    async def make(self) -> None:
        """Have the first machine made; what goes wrong is for whoever asks for it."""
        try:
            self._made = await self._source.lease("the first to ask")
        except LuminaGuardError as problem:
            self._problem = problem
        finally:
            self._settled.set()

    async def release(self) -> None:
        """Destroy the machine if nobody has asked for it."""
        lease, self._made = self._made, None
        if lease is not None:
            await lease.release()


@asynccontextmanager
async def started_ahead(source: MachineSource) -> AsyncGenerator[StartedAhead]:
    """Begin to make a machine; while the body runs, the first to ask gets it.

    A machine that nobody asked for is destroyed at the end, made or not.
    """
    ahead = StartedAhead(source)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ahead.make)
            try:
                yield ahead
            finally:
                tasks.cancel_scope.cancel()
    except ExceptionGroup as group:  # the body's own error: `make` raises none
        raise group.exceptions[0] from group
    finally:
        with anyio.CancelScope(shield=True):
            await ahead.release()
