"""One cgroup per running command: nothing that a command starts can leave it, or outlive it."""

import os
from contextlib import suppress

from luminaguard_guest import mounts

ROOT = "/sys/fs/cgroup"
BOX = f"{ROOT}/box"
SERVER = f"{BOX}/server"
CALLS = f"{BOX}/calls"

_FLAGS = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
_PROCESSES = 512
_SPARED_BYTES = 96 * 1024 * 1024
"""Memory that commands cannot have, so that the kernel and the agent can go on."""


def write(path: str, text: str) -> None:
    """Write one value into a control file."""
    with open(path, "wb", buffering=0) as file:
        file.write(text.encode())


def prepare(memory_bytes: int) -> None:
    """Make the box's cgroups; commands together are bounded in memory and processes."""
    # Moving a process into a cgroup otherwise waits for every CPU.
    # Source: Linux Documentation/admin-guide/cgroup-v2.rst, "favordynmods"
    mounts.mount("cgroup2", ROOT, None, mounts.MS_REMOUNT | _FLAGS, "favordynmods")
    write(f"{ROOT}/cgroup.subtree_control", "+memory +pids")
    os.mkdir(BOX)
    write(f"{BOX}/cgroup.subtree_control", "+memory +pids")
    os.mkdir(SERVER)
    os.mkdir(CALLS)
    write(f"{CALLS}/pids.max", str(_PROCESSES))
    write(f"{CALLS}/memory.max", str(max(memory_bytes - _SPARED_BYTES, memory_bytes // 2)))


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
        return CallGroup(self._parent_fd, name)

    def give_back(self, group: "CallGroup") -> None:
        """Keep an empty cgroup for the next command."""
        self._free.append(group)


class CallGroup:
    """One command's cgroup."""

    def __init__(self, parent_fd: int, name: str) -> None:
        """Open its control files."""
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            self.members_fd = os.open("cgroup.procs", os.O_RDWR | os.O_CLOEXEC, dir_fd=directory)
            self._kill_fd = os.open("cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
            self._events_fd = os.open("cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)

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
