"""Pools of other processes: each keeps its metrics in a file that says so only while it lives.

`<runtime>/pools/<id>.json` holds the metrics and is replaced whole; `<id>.lock` beside it carries
an flock for as long as its process lives. The kernel frees the lock with the process, however that
ends, so whoever reads next recognizes what a dead one left, and removes it.

On Windows, where a file that is open cannot be renamed, pools are not published, and none is found.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from luminaguard.domain.calls import JsonValue
from luminaguard.errors import VmError
from luminaguard.vm.directories import make_private
from luminaguard.vm.linux import NO_FOLLOW, try_lock
from luminaguard.vm.pool.metrics import PoolMetrics

_DIRECTORY = "pools"
_MOST_BYTES = 64 * 1024
_NEW = ".new-"
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPool:
    """What a living pool last said."""

    id: str
    pid: int
    told_at: float
    """Seconds since the epoch."""
    backend: str
    """What makes its machines; empty if its process did not say."""
    metrics: dict[str, JsonValue]
    """As of `PoolMetrics.as_json`."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON form."""
        return {
            "id": self.id,
            "pid": self.pid,
            "told_at": self.told_at,
            "backend": self.backend,
            "metrics": self.metrics,
        }


class MetricsFile:
    """Publishes one pool's metrics while it is open. A context manager; blocking.

    with MetricsFile(runtime_dir, pool.id, backend="qemu") as file:
        pool.watch(file.publish)
    """

    def __init__(self, runtime_dir: Path, pool_id: str, *, backend: str = "") -> None:
        """Choose where; `pool_id` is new and random, `backend` makes the pool's machines."""
        self._directory = runtime_dir / _DIRECTORY
        self._id = pool_id
        self._backend = backend
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Take the lock that shows this process to be alive.

        Raises:
            VmError: others may enter the directory, or it cannot be written.
        """
        if sys.platform == "win32":
            return self
        for directory in (self._directory.parent, self._directory):
            if not make_private(directory):
                raise VmError(f"others may enter {directory}", hint=f"chmod 700 {directory}")
        for _ in range(_TRIES):
            self._lock = self._locked()
            if self._lock is not None:
                return self
        raise VmError(f"no lock could be had in {self._directory}", hint="try again")

    def _locked(self) -> int | None:
        """Return the held lock; None if a reader came in between and took it for a dead one's."""
        new = self._directory / f"{_NEW}{self._id}.lock"
        fd = os.open(new, os.O_CREAT | os.O_RDWR | NO_FOLLOW, 0o600)
        with suppress(FileNotFoundError):
            if try_lock(fd):
                # Under its name only once it is locked: from then on no reader can mistake it.
                os.rename(new, self._path("lock"))
                return fd
        os.close(fd)
        return None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take everything back."""
        if self._lock is None:
            return
        for suffix in ("json", "lock"):
            with suppress(OSError):
                os.unlink(self._path(suffix))
        os.close(self._lock)
        self._lock = None

    def publish(self, metrics: PoolMetrics) -> None:
        """Replace what is said of the pool.

        Raises:
            OSError: the disk is full, say; what was said before stands.
        """
        if self._lock is None:
            return
        said = PublishedPool(
            id=self._id,
            pid=os.getpid(),
            told_at=time.time(),
            backend=self._backend,
            metrics=metrics.as_json(),
        )
        new = self._directory / f"{_NEW}{self._id}.json"
        try:
            fd = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | NO_FOLLOW, 0o600)
            with open(fd, "w", encoding="utf-8") as target:
                json.dump(said.as_json(), target)
            os.rename(new, self._path("json"))
        except OSError:
            with suppress(OSError):
                os.unlink(new)
            raise

    def _path(self, suffix: str) -> Path:
        return self._directory / f"{self._id}.{suffix}"


def published_pools(runtime_dir: Path) -> list[PublishedPool]:
    """Return what every living pool of this user says, and remove what dead ones left. Blocking."""
    directory = runtime_dir / _DIRECTORY
    if sys.platform == "win32" or not directory.is_dir() or not make_private(directory):
        return []
    _remove_dead(directory)
    return sorted(_living(directory), key=lambda pool: (pool.pid, pool.id))


def _living(directory: Path) -> Iterator[PublishedPool]:
    for lock in directory.glob("*.lock"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            # Absent or unreadable: the pool has said nothing yet, or has just ended.
            said = json.loads(_read(lock.with_suffix(".json")))
            yield PublishedPool(
                id=lock.stem,
                pid=int(said["pid"]),
                told_at=float(said["told_at"]),
                backend=str(said.get("backend", "")),
                metrics=cast("dict[str, JsonValue]", dict(said["metrics"])),
            )


def _read(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | NO_FOLLOW), "rb") as source:
        content = source.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError("too long to be a pool's metrics")
    return content


def _remove_dead(directory: Path) -> None:
    for lock in directory.glob("*.lock"):
        with suppress(OSError):
            fd = os.open(lock, os.O_RDWR | NO_FOLLOW)
            try:
                if try_lock(fd):
                    for left in directory.glob(f"*{lock.stem}*"):
                        left.unlink(missing_ok=True)
            finally:
                os.close(fd)
