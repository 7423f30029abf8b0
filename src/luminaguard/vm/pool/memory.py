"""The memory that a pool may use, and what its machines take of it, as this host tells."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

KIB = 1024
_UNLIMITED = 1 << 60
"""Control groups without a limit say "max" (v2) or a number near 2^63 (v1)."""


_READ_AGAIN_S = 0.05


class MemoryView(Protocol):
    """Tells of memory. Values in bytes; None where nobody can tell."""

    def free_bytes(self) -> int | None:
        """Return what could be taken now without harm to others."""
        ...

    def total_bytes(self) -> int | None:
        """Return what this process and its children may take at most, if nobody else took any."""
        ...

    def used_bytes(self, pid: int) -> int | None:
        """Return what a process takes, its share of shared pages included."""
        ...


class HostMemory:
    """Reads the kernel's figures: free memory, and the limits of our own control groups.

    Source: proc_meminfo(5), proc_pid_smaps(5), and the kernel's documents
    "Control Group v2" (memory.max, memory.current) and "Memory Resource Controller" (v1).
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """Read below `root`, which tests replace."""
        self._root = root
        self._read_s = float("-inf")
        self._free: int | None = None

    def free_bytes(self) -> int | None:
        """Return the least of what the host has and what each limit above us still allows.

        Read at most twenty times a second: a burst of requests asks far more often.
        """
        now_s = time.monotonic()
        if now_s >= self._read_s + _READ_AGAIN_S:
            self._read_s, self._free = now_s, self._free_now()
        return self._free

    def _free_now(self) -> int | None:
        free = self._meminfo("MemAvailable")
        if free is None:
            return None
        for limit, used in self._limits():
            free = min(free, max(limit - used, 0))
        return free

    def total_bytes(self) -> int | None:
        """Return the least of the host's memory and all limits above us."""
        total = self._meminfo("MemTotal")
        if total is None:
            return None
        return min(total, *(limit for limit, _ in self._limits()), total)

    def used_bytes(self, pid: int) -> int | None:
        """Return the proportional share (PSS); the resident size where that is not shown to us."""
        rollup = self._read(f"proc/{pid}/smaps_rollup")
        share = _field(rollup, "Pss") if rollup else None
        if share is not None:
            return share
        words = (self._read(f"proc/{pid}/statm") or "").split()
        return int(words[1]) * _page_bytes() if len(words) > 1 else None

    def _meminfo(self, name: str) -> int | None:
        return _field(self._read("proc/meminfo") or "", name)

    def _limits(self) -> Iterator[tuple[int, int]]:
        """Yield (limit, used) of every control group that we are in, up to its root."""
        for line in (self._read("proc/self/cgroup") or "").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                for base in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                    yield from self._upwards(base, path, "memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
                yield from self._upwards("sys/fs/cgroup/memory", path, *names)

    def _upwards(self, base: str, path: str, limit: str, used: str) -> Iterator[tuple[int, int]]:
        group = path.strip("/")
        while True:
            directory = f"{base}/{group}" if group else base
            said, taken = self._number(f"{directory}/{limit}"), self._number(f"{directory}/{used}")
            if said is not None and taken is not None and said < _UNLIMITED:
                yield said, max(taken - self._reclaimable(directory), 0)
            if not group:
                return
            group = os.path.dirname(group)

    def _reclaimable(self, directory: str) -> int:
        """Return the file cache that the group's use counts and the kernel gives back at need."""
        rows = (
            line.split() for line in (self._read(f"{directory}/memory.stat") or "").splitlines()
        )
        counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
        return counts.get("total_inactive_file", counts.get("inactive_file", 0))

    def _number(self, path: str) -> int | None:
        said = (self._read(path) or "").strip()
        return int(said) if said.isdigit() else None

    def _read(self, path: str) -> str | None:
        try:
            with open(self._root / path, encoding="ascii", errors="replace") as source:
                return source.read()
        except OSError:
            return None


def _field(text: str, name: str) -> int | None:
    """Return the value of a "Name:  123 kB" line in bytes."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * KIB
    return None


def _page_bytes() -> int:
    return 4096 if sys.platform == "win32" else os.sysconf("SC_PAGE_SIZE")
