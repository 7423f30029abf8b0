"""The machine that installs what an image gets beyond its packages, as this layer sees it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from luminaguard.domain.execution import GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.image.image import GuestImage


class Workbench(Protocol):
    """Runs one program in a machine of its own and brings out the files that it made."""

    def run(
        self,
        image: GuestImage,
        disk: Path,
        command: Sequence[str],
        take: Callable[[UpperRecord], None],
    ) -> GuestReport:
        """Boot `image` with a writable layer over `disk`, run `command` in it, end the machine.

        Blocks, for minutes at most. The machine has no network. If the command ends with exit
        code 0, `take` is given all that was written over the disk; what it raises ends the machine.
        Nothing that comes out has been checked.

        Args:
            image: What the machine boots.
            disk: A squashfs; its root is the working directory.
            command: Program and arguments, run as the guest's ordinary user.
            take: Receives each record of the harvest.

        Raises:
            VmError: no machine could be had, or it failed.
        """
        ...
