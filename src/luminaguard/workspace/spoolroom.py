"""Where a process keeps its spools: gone with the process, even if it is killed.

Each process has a directory of its own and holds a lock on it. What a dead process left is removed
by the next one that comes along.
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

from luminaguard.workspace.spool import Spool

if sys.platform != "win32":
    import fcntl


class SpoolRoom:
    """One process's directory of spools, made when the first is needed."""

    def __init__(self, directory: Path) -> None:
        """Use `directory`, shared by all processes of this state directory."""
        self._shared = directory
        self._own: Path | None = None
        self._lock = -1

    def spool(self, *, quota_bytes: int) -> Spool:
        """Return a new, empty spool."""
        return Spool(self._place() / secrets.token_hex(8), quota_bytes=quota_bytes)

    def close(self) -> None:
        """Remove this process's directory with everything in it; harmless when repeated."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            os.close(self._lock)
            self._own = None

    def _place(self) -> Path:
        if self._own is None:
            self._shared.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remove_dead()
            own = self._shared / secrets.token_hex(8)
            own.mkdir(mode=0o700)
            self._lock = os.open(own, os.O_RDONLY)
            _try_lock(self._lock)
            self._own = own
        return self._own

    def _remove_dead(self) -> None:
        """Remove directories that no living process holds.

        One that was made a moment ago and is not locked yet could be taken for dead: its maker
        then fails to write, and nothing happens.
        """
        for other in self._shared.iterdir():
            fd = os.open(other, os.O_RDONLY)
            try:
                if _try_lock(fd):
                    shutil.rmtree(other, ignore_errors=True)
            finally:
                os.close(fd)


def _try_lock(fd: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
