"""Locks between processes that vanish with the process that held them.

A lock is on an open file, not on a process id: ids are used again, locks are not, and the kernel
releases them however a process ends. Source: flock(2).
"""

import os
import sys
import threading
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FileLock:
    """An exclusive lock on a file, held from `acquire` to `release`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it; the file is made if it is missing."""
        if self._descriptor is not None:
            return False
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor, wait=False)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def acquire(self, timeout_s: float) -> None:
        """Take the lock, waiting in turn for whoever has it.

        Raises:
            TimeoutError: it was not free in time.
        """
        if self.try_acquire():
            return
        waiting = _Waiting(self._path)
        waiting.start()
        self._descriptor = waiting.result(timeout_s)
        if self._descriptor is None:
            raise TimeoutError(f"{self._path} is locked by another process")

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Waiting(threading.Thread):
    """Waits for a lock in the kernel's queue: whoever polls instead may starve on a busy machine.

    A call that waits cannot be given a time limit, so it has a thread of its own. If it comes
    through after nobody waits any more, it lets go at once.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(name="luminaguard-lock", daemon=True)
        self._path = path
        self._deciding = threading.Lock()
        self._is_wanted = True
        self._descriptor: int | None = None
        self._problem: OSError | None = None

    def run(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as problem:
            self._problem = problem
            return
        try:
            _lock(descriptor, wait=True)
            with self._deciding:
                if self._is_wanted:
                    self._descriptor, descriptor = descriptor, -1
        except OSError as problem:
            self._problem = problem
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def result(self, timeout_s: float) -> int | None:
        """Return the locked descriptor; None, once and for all, if there is none in time."""
        self.join(timeout_s)
        with self._deciding:
            self._is_wanted = False
            if self._problem is not None:
                raise self._problem
            return self._descriptor


def _lock(descriptor: int, *, wait: bool) -> None:
    """Lock an open file; `BlockingIOError` or `PermissionError` if it is taken and `wait` is not.

    Windows gives up waiting after ten seconds, with an `OSError`. Source: Python, `msvcrt.locking`.
    """
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
