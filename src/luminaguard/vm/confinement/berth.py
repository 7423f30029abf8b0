"""What one machine has of the host for itself: a user, and a cgroup with its limits.

Neither is part of the minimum. What this host does not give, the berth says in words that end on
cards and records.
"""

from contextlib import suppress
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync

from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.cgroups.machine import Cgroups, MachineCgroup
from luminaguard.vm.confinement.jail import device_group
from luminaguard.vm.confinement.subuids import NoSubordinates, SubordinateUids
from luminaguard.vm.confinement.uids import UidLease, can_switch_users, lease_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """One machine's own user and cgroup."""

    cgroup: MachineCgroup
    lease: UidLease | None
    no_uid: str | None
    """Why it has no user of its own; None when it has one."""

    @property
    def is_subordinate(self) -> bool:
        """Whether its uid is out of the user's own range."""
        return self.lease is not None and self.lease.namespace is not None

    def disembark(self) -> None:
        """Give up this process's hold on the uid; the machine's own ends with the machine."""
        if self.lease is not None:
            self.lease.release()

    @property
    def inherited(self) -> tuple[int, ...]:
        """Descriptors that the machine's processes need."""
        return () if self.lease is None else (self.lease.fd,)


class Berths:
    """Gives each machine of this process a berth."""

    def __init__(self, mark: str) -> None:
        """Keep the owner's mark, which names the cgroups; nothing is touched before `take`."""
        self.cgroups = Cgroups(mark)
        self._subordinates: SubordinateUids | None = None
        self._no_uid: str | None = None
        self._opening = anyio.Lock()

    async def take(
        self, limits: CgroupLimits, device: str | None = None, *, namespaces: bool = True
    ) -> Berth:
        """Return a free berth; the caller disembarks, and removes its cgroup.

        Args:
            limits: What the machine may take of the host.
            device: Host device that the machine needs, such as /dev/kvm.
            namespaces: Whether the machine gets namespaces.

        Raises:
            HypervisorUnavailable: this process is root, and every uid is taken.
        """
        async with self._opening:
            lease, no_uid = await self._lease(device, namespaces=namespaces)
        return Berth(cgroup=self.cgroups.make(limits), lease=lease, no_uid=no_uid)

    def give_up_uids(self, reason: str) -> None:
        """Go on without uids of the user's range."""
        self.close()
        self._no_uid = reason

    def close(self) -> None:
        """Let go of what the berths came from. Idempotent."""
        if self._subordinates is not None:
            with suppress(OSError):
                self._subordinates.close()
            self._subordinates = None

    async def _lease(
        self, device: str | None, *, namespaces: bool
    ) -> tuple[UidLease | None, str | None]:
        if can_switch_users():
            return lease_uid(), None
        if not namespaces:
            return None, "without a pid namespace LuminaGuard could not end another user's process"
        group = device_group(device)
        if group is not None:
            mend = f"let everybody open it: sudo chmod 666 {device}"
            return None, f"only the group {group} may open {device}; {mend}"
        if self._no_uid is None and self._subordinates is None:
            try:
                self._subordinates = await run_sync(SubordinateUids.open)
            except NoSubordinates as lacking:
                self._no_uid = str(lacking)
        if self._subordinates is None:
            return None, self._no_uid
        return self._subordinates.lease(), None
