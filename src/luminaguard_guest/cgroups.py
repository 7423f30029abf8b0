"""One cgroup per running command: nothing that a command starts can leave it, or outlive it."""

import os
from collections.abc import Iterable
from contextlib import suppress

from luminaguard_guest import mounts
from luminaguard_guest.profile import Shares

ROOT = "/sys/fs/cgroup"
BOX = f"{ROOT}/box"
SERVER = f"{BOX}/server"
CALLS = f"{BOX}/calls"

_FLAGS = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
_CONTROLLERS = "+cpu +io +memory +pids"
_SPARED_BYTES = 64 * 1024 * 1024
"""Memory that commands cannot have, so that the kernel and the agent can go on."""
_PERIOD_US = 100_000
"""What the kernel divides a CPU's time into. Source: cgroup-v2.rst, "cpu.max"."""


def write(path: str, text: str) -> None:
    """Write one value into a control file."""
    with open(path, "wb", buffering=0) as file:
        file.write(text.encode())


def prepare(shares: Shares, *, memory_bytes: int, disks: Iterable[str]) -> None:
    """Make the box's cgroups; all commands together are bounded.

    `memory_bytes`: what the machine has. `disks`: block devices, each as `major:minor`.

    Raises:
        OSError: the kernel lacks a controller: there would be no such bound.
    """
    # Moving a process into a cgroup otherwise waits for every CPU.
    # Source: Linux Documentation/admin-guide/cgroup-v2.rst, "favordynmods"
    mounts.mount("cgroup2", ROOT, None, mounts.MS_REMOUNT | _FLAGS, "favordynmods")
    write(f"{ROOT}/cgroup.subtree_control", _CONTROLLERS)
    os.mkdir(BOX)
    write(f"{BOX}/cgroup.subtree_control", _CONTROLLERS)
    os.mkdir(SERVER)
    os.mkdir(CALLS)
    write(f"{CALLS}/pids.max", str(shares.processes))
    most = min(memory_bytes * shares.memory_percent // 100, memory_bytes - _SPARED_BYTES)
    write(f"{CALLS}/memory.max", str(max(most, memory_bytes // 2)))
    write(f"{CALLS}/cpu.weight", str(shares.cpu_weight))
    write(f"{CALLS}/cpu.max", f"{_cpu_time(shares.cpu_percent)} {_PERIOD_US}")
    for disk in disks:
        write(f"{CALLS}/io.max", f"{disk} {_disk_use(shares)}")


def _cpu_time(percent: int) -> str:
    cpus = os.cpu_count() or 1
    return str(_PERIOD_US * cpus * percent // 100) if percent else "max"


def _disk_use(shares: Shares) -> str:
    most_bytes = shares.disk_bytes_per_s or "max"
    most_operations = shares.disk_operations_per_s or "max"
    return " ".join(f"{way}bps={most_bytes} {way}iops={most_operations}" for way in ("r", "w"))


def is_populated(directory: str) -> bool:
    """Whether any process is in a cgroup or below it."""
    with open(f"{directory}/cgroup.events", "rb", buffering=0) as file:
        return b"populated 1" in file.read()


class Calls:
    """The cgroups of commands, by descriptor: they stay in reach after the root was left."""

    def __init__(self) -> None:
        """Open the parent of all."""
        self._parent_fd = os.open(CALLS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._free: list[CallGroup] = []
        self._made = 0

    def take(self) -> "CallGroup":
        """Return an empty cgroup; give it back when it is empty again."""
        if self._free:
            return self._free.pop()
        name = str(self._made)
        os.mkdir(name, dir_fd=self._parent_fd)
        self._made += 1
        return CallGroup(self._parent_fd, name, self._free)


class CallGroup:
    """One command's cgroup."""

    def __init__(self, parent_fd: int, name: str, free: "list[CallGroup]") -> None:
        """Open its control files. `free`: where it goes when it is given back."""
        self._free = free
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            self.members_fd = os.open("cgroup.procs", os.O_RDWR | os.O_CLOEXEC, dir_fd=directory)
            self._kill_fd = os.open("cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
            self._events_fd = os.open("cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)

    def give_back(self) -> None:
        """Keep it, empty as it is, for the next command."""
        self._free.append(self)

    def members(self) -> list[int]:
        """Return the processes in it, without those that are only to be reaped."""
        return [int(pid) for pid in os.pread(self.members_fd, 65536, 0).split()]

    def is_empty(self) -> bool:
        """Whether nothing in it lives."""
        return b"populated 0" in os.pread(self._events_fd, 256, 0)

    def kill(self) -> None:
        """Kill everything in it at once; what is forking meanwhile, too."""
        with suppress(OSError):
            os.write(self._kill_fd, b"1")
