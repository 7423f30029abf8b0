"""Where a workspace's journal lies, and the lock that lets one commit at a time touch the tree.

Everything lies in the state directory, keyed by the root's device and inode: what lies inside a
workspace could have been put there by anybody who can write to it.
"""

import errno
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from luminaguard.errors import WorkspaceError

if sys.platform != "win32":
    import fcntl

_POLL_S = 0.02
"""The kernel has no lock call with a time limit; this is the price of waiting with one."""


class CommitStore:
    """One workspace's private place in the state directory: lock, journal, preserved files."""

    def __init__(self, state_dir: Path, dev: int, ino: int, *, wait_s: float = 10.0) -> None:
        """Name the place; nothing is made until the first lock.

        Args:
            state_dir: LuminaGuard's state directory.
            dev: Device of the workspace's root.
            ino: Inode of the workspace's root.
            wait_s: Seconds to wait for another process's commit.
        """
        self.directory = state_dir / "workspaces" / f"{dev}-{ino}"
        self._wait_s = wait_s

    @property
    def preserved(self) -> Path:
        """Where recovery keeps the versions that it could not put back."""
        return self.directory / "preserved"

    @contextmanager
    def locked(self) -> Generator[int]:
        """Hold the workspace's lock; yields a descriptor of the store's directory.

        The kernel drops the lock when the process dies, whatever way.

        Raises:
            WorkspaceError: another process holds it for longer than the time to wait.
        """
        if sys.platform == "win32":
            raise WorkspaceError("committing to a workspace is not supported on Windows")
        make_durable(self.directory)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                self._take(lock)
                yield directory
            finally:
                os.close(lock)
        finally:
            os.close(directory)

    def _take(self, lock: int) -> None:
        deadline = time.monotonic() + self._wait_s
        while not _try_lock(lock):
            if time.monotonic() >= deadline:
                raise WorkspaceError(
                    f"another LuminaGuard process is committing to this workspace,"
                    f" for more than {self._wait_s:g} s",
                    hint="wait for it to end, then try again",
                )
            time.sleep(_POLL_S)


def _try_lock(lock: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES, errno.EINTR}:
            return False
        raise
    return True


def make_durable(directory: Path) -> None:
    """Make a private directory and its missing parents so that a power loss leaves them there."""
    if directory.is_dir():
        return
    make_durable(directory.parent)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Make a directory's entries durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
