"""Which sessions are alive: those whose process still holds the session's lock file.

Callers hold the log's own lock around every method, so that a session cannot begin or end while
somebody judges whether it is alive.
"""

from hashlib import sha256
from pathlib import Path

from luminaguard.audit.lock import FileLock

_SUFFIX = ".live"


class SessionLocks:
    """The sessions that this process lives in, and a way to ask about others."""

    def __init__(self, directory: Path) -> None:
        """Use `directory`, which must exist, for one small file per live session."""
        self._directory = directory
        self._held: dict[str, FileLock] = {}

    def join(self, session_id: str) -> None:
        """Keep a session alive from now on. One that another process holds is alive already."""
        if session_id and session_id not in self._held:
            lock = FileLock(self._path(session_id))
            if lock.try_acquire():
                self._held[session_id] = lock

    def leave(self, session_id: str) -> None:
        """Stop keeping a session alive."""
        if lock := self._held.pop(session_id, None):
            self._path(session_id).unlink(missing_ok=True)
            lock.release()

    def is_alive(self, session_id: str) -> bool:
        """Say whether any process, this one included, keeps the session alive."""
        path = self._path(session_id)
        return session_id in self._held or (path.exists() and _is_locked(path))

    def sweep(self) -> None:
        """Remove the files of sessions whose process ended without leaving them."""
        mine = {self._path(session_id) for session_id in self._held}
        for path in self._directory.glob(f"*{_SUFFIX}"):
            if path not in mine and not _is_locked(path):
                path.unlink(missing_ok=True)

    def leave_all(self) -> None:
        """Stop keeping any session alive."""
        for session_id in list(self._held):
            self.leave(session_id)

    def _path(self, session_id: str) -> Path:
        name = sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self._directory / f"{name}{_SUFFIX}"


def _is_locked(path: Path) -> bool:
    lock = FileLock(path)
    free = lock.try_acquire()
    lock.release()
    return not free
