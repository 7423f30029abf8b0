"""One Firecracker that runs: what a machine needs of it, whoever started it."""

from dataclasses import dataclass
from typing import Protocol

import anyio

from luminaguard.domain.isolation import Jail
from luminaguard.vm.backends.firecracker.api.client import ApiClient
from luminaguard.vm.backends.firecracker.pipes import MetricsTail, Tail
from luminaguard.vm.backends.firecracker.room import Room
from luminaguard.vm.backends.firecracker.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMemory:
    """Where a clone's memory comes from."""

    inside: str | None = None
    """A file of the room that the kernel maps privately, as Firecracker sees it."""
    sealed: int | None = None
    """A memory file that a page fault handler of ours copies from."""


class Vmm(Protocol):
    """The process."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        ...

    def cpu_s(self) -> float:
        """CPU time used; 0 once it is gone."""
        ...

    def jail(self, room: Room, template: TemplateMemory | None) -> Jail:
        """Return the layers that really hold; refuse those below the minimum.

        Called once the guest's processors exist: Firecracker's filter is active from then on.

        Args:
            room: Where the template's memory lies.
            template: The memory of a clone; None for a machine that booted.

        Raises:
            HypervisorUnavailable: a needed layer is missing.
            GuestLost: the process is gone.
        """
        ...

    async def last_words(self) -> str:
        """Return the end of what it wrote, after waiting, bounded, for its end."""
        ...

    async def end(self) -> None:
        """Kill it and wait until it is gone. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A fresh Firecracker that answers; nothing is configured but its log and metrics."""

    vmm: Vmm
    room: Room
    api: ApiClient
    log: Tail
    metrics: MetricsTail

    async def end(self) -> None:
        """End the process and remove everything that it had. Idempotent."""
        with anyio.CancelScope(shield=True):
            await self.vmm.end()
            self.log.close()
            self.metrics.close()
            self.room.close()

    async def words(self) -> str:
        """Return what Firecracker said at last, in its log or on its error output."""
        logged = self.log.read().decode(errors="replace").strip().splitlines()[-3:]
        return " / ".join([*logged, await self.vmm.last_words()])


class Launcher(Protocol):
    """Starts Firecrackers."""

    async def launch(self, shape: Shape) -> Launched:
        """Start one, confined.

        Raises:
            HypervisorUnavailable: it cannot be started or confined on this host.
            GuestLost: it ended at once; the message holds its last words.
        """
        ...

    def close(self) -> None:
        """Let go of what watches over the machines; all of them have been ended."""
        ...
