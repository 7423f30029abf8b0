"""What the agent stands on: a kernel of its own in a machine, or a sandbox on somebody else's."""

from collections.abc import Iterator
from typing import Protocol

from luminaguard_guest import cgroups, overlay, reseed, workspace
from luminaguard_guest.lsm import Lsm
from luminaguard_guest.wire import Message
from luminaguard_guest.workspace import Tree


class Ground(Protocol):
    """The acts of the agent that depend on where it runs."""

    def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Make randomness and time fresh."""
        ...

    def assemble(self, path: bytes, filesystem: str) -> list[Tree]:
        """Put the workspace together; return what the box has to attach, in order.

        Raises:
            GuestFault: something is not there, or does not fit.
        """
        ...

    def take_apart(self) -> None:
        """Undo `assemble`; the box has let go of what it attached."""
        ...

    def changes(self, skip: tuple[bytes, ...]) -> Iterator[Message]:
        """Yield what has changed in the workspace, as records of an overlay's upper layer.

        `skip`: directories whose files are listed without their bytes.

        Raises:
            GuestFault: it cannot be told whole, or no workspace is mounted.
        """
        ...

    def is_busy(self) -> bool:
        """Whether anything that a command started still runs."""
        ...

    def kill_all(self) -> None:
        """Kill all that commands started."""
        ...


class MachineGround:
    """A machine of its own: its kernel, its disks, its cgroups."""

    def __init__(self, lsm: Lsm) -> None:
        """Label what commands work on as `lsm` wants it."""
        self._lsm = lsm

    def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Feed the kernel's random number generator, and set its clock."""
        reseed.reseed(entropy, wall_clock_ns)

    def assemble(self, path: bytes, filesystem: str) -> list[Tree]:
        """Mount scratch disk, workspace disk and the overlay over both."""
        return workspace.assemble(path, filesystem, self._lsm)

    def take_apart(self) -> None:
        """Unmount them."""
        workspace.take_apart()

    def changes(self, skip: tuple[bytes, ...]) -> Iterator[Message]:
        """Walk the overlay's upper layer."""
        return overlay.harvest(workspace.upper(), skip)

    def is_busy(self) -> bool:
        """Whether the cgroup of all commands holds a process."""
        return cgroups.is_populated(cgroups.CALLS)

    def kill_all(self) -> None:
        """Kill what is in it, at once."""
        cgroups.write(f"{cgroups.CALLS}/cgroup.kill", "1")
