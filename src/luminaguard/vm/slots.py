"""A machine's private directory and the files behind its disks, for backends that need paths.

Where a running machine cannot be given another disk file, or a descriptor to one, it gets two
empty, sparse files of the slots' size, and `fill` writes a disk's content into them before the
guest has read a byte of it.
"""

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from luminaguard.errors import VmError
from luminaguard.vm.directories import make_private
from luminaguard.vm.linux import data_extents, read_at, try_lock, write_at

WORKSPACE, SCRATCH = "workspace.img", "scratch.img"
CONSOLE = "console.log"
_LOCK = "lock"
_COPY_BYTES = 1024 * 1024


class PrivateDirectory:
    """What one machine has on the host's disk; gone with the machine.

    Its lock tells a later process which directories belong to nobody any more.
    """

    def __init__(self, path: Path, lock: int) -> None:
        """Take over a locked directory; use `make`."""
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def make(cls, parent: Path, slot_bytes: int) -> "PrivateDirectory":
        """Make one in `parent`, with empty disks. Blocking.

        Raises:
            VmError: the disk is full, or the place is not private.
        """
        if not (make_private(parent.parent) and make_private(parent)):
            raise VmError(f"others may enter {parent}", hint=f"chmod 700 {parent}")
        path = parent / secrets.token_hex(16)
        try:
            path.mkdir(mode=0o700)
            lock = os.open(path / _LOCK, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try_lock(lock)
            directory = cls(path, lock)
            for name in (WORKSPACE, SCRATCH):
                with directory.create(name) as fd:
                    os.ftruncate(fd, slot_bytes)
        except OSError as problem:
            raise VmError(
                f"a machine's directory cannot be made in {parent}: {problem.strerror}",
                hint="free some space there, or set LUMINAGUARD_STATE_DIR to another place",
            ) from problem
        return directory

    @contextmanager
    def create(self, name: str) -> Generator[int]:
        """Give the descriptor of a new 0600 file in here."""
        fd = os.open(self.path / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    def write(self, name: str, content: bytes) -> None:
        """Write a new file in here."""
        with self.create(name) as fd:
            write_at(fd, content, 0)

    def remove(self) -> None:
        """Delete it all. Idempotent; never fails."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def fill(target: Path, source: int) -> None:
    """Write the content of an open file into a slot that is still empty. Blocking.

    Raises:
        VmError: the host's disk is full.
    """
    try:
        fd = os.open(target, os.O_WRONLY)
        try:
            for start, length in data_extents(source, os.fstat(source).st_size):
                for offset in range(start, start + length, _COPY_BYTES):
                    wanted = min(_COPY_BYTES, start + length - offset)
                    write_at(fd, read_at(source, wanted, offset), offset)
        finally:
            os.close(fd)
    except OSError as problem:
        raise VmError(
            f"a disk cannot be written in {target.parent}: {problem.strerror}",
            hint="free some space there",
        ) from problem


def sweep(parent: Path) -> None:
    """Remove the directories of machines whose owner was killed. Blocking; never fails."""
    for lock in parent.glob(f"*/{_LOCK}"):
        try:
            fd = os.open(lock, os.O_RDWR)
        except OSError:
            continue
        try:
            if try_lock(fd):
                shutil.rmtree(lock.parent, ignore_errors=True)
        finally:
            os.close(fd)
