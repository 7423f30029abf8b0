"""A host user of its own for every live machine.

Two machines that broke out at once can then neither signal, trace nor read each other. A uid is
held by a lock on an open file that the machine's process inherits: the kernel frees it when the
last of both is gone, however they ended.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.linux import DIRECTORY, NO_FOLLOW, try_lock, user_id

FIRST_UID = 1_900_000_000
"""Above what systemd gives to containers (…1,879,048,191) and below the sign bit.

Source: systemd, "Users, Groups, UIDs and GIDs on systemd Systems".
"""
SLOTS = 4096
LOCKS = Path("/run/luminaguard/uids")
"""One place per host, whatever the caller's runtime directory: uids are shared by the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UidLease:
    """A uid that nobody else's machine has, as long as `fd` is open somewhere."""

    uid: int
    """As the host counts."""
    fd: int
    namespace: int | None = None
    """User namespace to start the machine in, where it is called `inner`; None for the host's."""
    inner: int = 0
    """What the uid is called where the machine's rights are dropped; 0 when that is `uid`."""

    @property
    def becomes(self) -> int:
        """The number to become, in the machine's own user namespace."""
        return self.inner or self.uid

    def release(self) -> None:
        """Give up this process's hold; the machine's own ends with the machine."""
        with suppress(OSError):
            os.close(self.fd)


def can_switch_users() -> bool:
    """Whether this process may run a program as one of the leased uids."""
    if user_id() != 0:
        return False
    try:
        with open("/proc/self/uid_map", encoding="ascii") as table:
            ranges = [[int(word) for word in line.split()] for line in table]
    except OSError:
        return False
    last = FIRST_UID + SLOTS - 1
    return any(inside <= FIRST_UID and last < inside + length for inside, _, length in ranges)


def lease_uid(locks: Path = LOCKS, *, first: int = FIRST_UID, slots: int = SLOTS) -> UidLease:
    """Take a free uid out of a range.

    Args:
        locks: Directory of the locks; one for all who share the range.
        first: The range's first uid.
        slots: How many uids it has.

    Raises:
        HypervisorUnavailable: the lock directory cannot be used, or every uid is taken.
    """
    with _directory(locks) as directory:
        for slot in range(slots):
            flags = os.O_CREAT | os.O_RDONLY | NO_FOLLOW
            fd = os.open(str(slot), flags, 0o600, dir_fd=directory)
            if try_lock(fd):
                return UidLease(uid=first + slot, fd=fd)
            os.close(fd)
    raise HypervisorUnavailable(f"all {slots} machine uids are taken", hint="stop some machines")


@contextmanager
def _directory(locks: Path) -> Generator[int]:
    try:
        locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(locks, os.O_RDONLY | DIRECTORY | NO_FOLLOW)
    except OSError as problem:
        raise HypervisorUnavailable(
            f"machines cannot be given users of their own: {locks}: {problem.strerror}",
            hint=f"make {locks} writable for uid {user_id()}",
        ) from problem
    try:
        about = os.fstat(fd)
        if about.st_uid != user_id() or about.st_mode & 0o022:
            raise HypervisorUnavailable(
                f"{locks} can be written by others",
                hint=f"chown {user_id()} {locks}; chmod 700 {locks}",
            )
        yield fd
    finally:
        os.close(fd)
