"""A machine in somebody's hands, and what takes it back when they forget it or die."""

import os
import weakref
from collections.abc import Callable, Mapping
from typing import Protocol

from luminaguard.errors import VmError
from luminaguard.vm.hypervisor import MicroVM
from luminaguard.vm.linux import process_handle


class LeaseKeeper(Protocol):
    """What a lease asks of its pool."""

    def renew(self, machine: int) -> None:
        """Let the lease run from now; `GuestLost` when it has ended."""
        ...

    async def give_back(self, machine: int) -> None:
        """Destroy the machine and return when it is gone."""
        ...


class PoolLease:
    """A `Lease` of a pool. Forgetting it without `release` destroys the machine as well."""

    def __init__(
        self,
        vm: MicroVM,
        timings_ms: Mapping[str, float],
        keeper: LeaseKeeper,
        machine: int,
        forget: Callable[[int], None],
    ) -> None:
        """Hold machine number `machine` of `keeper`; `forget` is told when this object is lost."""
        self.vm = vm
        self.timings_ms = timings_ms
        self._keeper = keeper
        self._machine = machine
        self._forgotten = weakref.finalize(self, forget, machine)
        self._forgotten.atexit = False

    def renew(self) -> None:
        """Say that the owner still needs the machine: its time starts anew.

        Raises:
            GuestLost: the lease has run out, or the machine died.
        """
        self._keeper.renew(self._machine)

    async def release(self) -> None:
        """Destroy the machine: it is never given to anybody else. Idempotent."""
        self._forgotten.detach()
        await self._keeper.give_back(self._machine)


class OwnerProcess:
    """Another process that a lease depends on, held so that its number cannot be mistaken."""

    def __init__(self, pid: int) -> None:
        """Take hold of a living process.

        Raises:
            VmError: there is no such process.
            HypervisorUnavailable: this system cannot hold processes.
        """
        try:
            handle = process_handle(pid)
        except ProcessLookupError as gone:
            raise VmError(f"process {pid}, for which a machine was asked, has ended") from gone
        self._handle = handle
        self.close = weakref.finalize(self, os.close, handle)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the process ends."""
        return self._handle
