"""What Firecracker writes to its log and metrics: read on demand, bounded, never believed.

Firecracker writes to a pipe without waiting: what does not fit is dropped there and counted in its
metrics. Source: Firecracker, docs/logger.md and docs/metrics.md.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import anyio

from luminaguard.vm.backends.firecracker.api.faults import ApiLost

_KEPT_BYTES = 64 * 1024
_LINE_LIMIT_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024
_POLL_S = 0.01


class Tail:
    """The last of what came through a pipe. Owns the descriptor."""

    def __init__(self, fd: int, *, kept_bytes: int = _KEPT_BYTES) -> None:
        """Read from `fd`, which does not block."""
        self._fd = fd
        self._kept_bytes = kept_bytes
        self._said = bytearray()
        self._closed = False

    def read(self) -> bytes:
        """Take in what has arrived; return all that is kept."""
        if not self._closed:
            with suppress(BlockingIOError, OSError):
                while piece := os.read(self._fd, _READ_BYTES):
                    self._said += piece
                    del self._said[: -self._kept_bytes]
        return bytes(self._said)

    def take(self) -> bytes:
        """Return what is kept and forget it."""
        said = self.read()
        self._said.clear()
        return said

    def close(self) -> None:
        """Take in the rest, and close. Idempotent."""
        if not self._closed:
            self.read()
            self._closed = True
            os.close(self._fd)


class MetricsTail:
    """The metrics: one JSON object in each line, written once a minute and when asked for."""

    def __init__(self, fd: int) -> None:
        """Read from `fd`, which does not block."""
        self._tail = Tail(fd, kept_bytes=_LINE_LIMIT_BYTES)

    async def latest(self, limit_s: float) -> Mapping[str, object]:
        """Return the newest whole line, waiting for one.

        Raises:
            ApiLost: none came in time, or it is no JSON object.
        """
        said = b""
        with anyio.move_on_after(limit_s):
            while b"\n" not in (said := said + self._tail.take())[-_LINE_LIMIT_BYTES:]:  # noqa: ASYNC110 - a pipe without a writer is readable all the time
                await anyio.sleep(_POLL_S)
        lines = said.split(b"\n")[:-1]
        if not lines:
            raise ApiLost(f"Firecracker wrote no metrics within {limit_s:g} s")
        try:
            newest: object = json.loads(lines[-1])
        except (ValueError, RecursionError) as problem:
            raise ApiLost("Firecracker's metrics are no JSON") from problem
        if not isinstance(newest, dict):
            raise ApiLost("Firecracker's metrics are no JSON object")
        return cast("dict[str, object]", newest)

    def close(self) -> None:
        """Close. Idempotent."""
        self._tail.close()
