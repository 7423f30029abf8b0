"""Where a session gets its machine from: one made for it, or a warm one out of a pool."""

from collections.abc import Mapping
from typing import Protocol

from luminaguard.vm.hypervisor import MicroVM


class Lease(Protocol):
    """One machine, for one owner only, until it is released; it is never used again after that."""

    @property
    def vm(self) -> MicroVM:
        """The machine: running or paused, not reseeded yet, placeholders in its disk slots."""
        ...

    @property
    def timings_ms(self) -> Mapping[str, float]:
        """What the owner waited for: `queue_ms`, `restore_ms`, `template_ms`, as far as it did."""
        ...

    def renew(self) -> None:
        """Say that the owner still needs the machine: its time starts anew.

        Raises:
            GuestLost: the lease has run out, and the machine is gone.
        """
        ...

    async def release(self) -> None:
        """Destroy the machine. Idempotent; works cancelled and whatever state it is in."""
        ...


class MachineSource(Protocol):
    """Hands out machines that nobody has used."""

    async def lease(self, owner: str) -> Lease:
        """Return a machine for `owner`, a session's id, as soon as there is one.

        Raises:
            PoolFull: too many are waiting, or none came free in time; trying again is safe.
            VmError: no machine could be made.
        """
        ...
