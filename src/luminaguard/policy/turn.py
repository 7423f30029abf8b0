"""One process at a time in a file that is kept; the kernel drops the lock with the process."""

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from luminaguard.errors import PolicyError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_PATIENCE_S = 10.0
_POLL_S = 0.01


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold the lock for a moment. Blocking.

    Raises:
        PolicyError: it cannot be had in time.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                raise PolicyError(f"{path} is held by another process")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
