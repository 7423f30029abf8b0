"""Landlock: a process gives up writing outside a few places, whatever mounts and owners would say.

A second wall, checked elsewhere in the kernel than mounts, modes and capabilities. Put on for good:
neither the process nor anything it starts can take it off, or change what is mounted.
Source: Linux Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h.
"""

import ctypes
import os
import stat
import struct

OLDEST = 2
"""Version 1 (Linux 5.13 to 5.18) lets nothing be moved between directories: programs break."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""Numbers of the system calls, the same on every processor."""
_VERSION_ONLY, _BENEATH = 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_SINCE = ((3, _TRUNCATE), (5, _IOCTL_DEVICE))
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_SCOPES_SINCE = 6
_SCOPES = 0b11
"""Abstract sockets of others cannot be connected to, and others cannot be signaled."""

_WRITABLE = ("/tmp", "/var/tmp", "/home", "/dev/shm")  # noqa: S108 - on the guest's own scratch space
_DEVICES = tuple(f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero"))

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def version() -> int:
    """Return what the kernel offers: 0 is nothing, or switched off."""
    return max(int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_ONLY)), 0)


class Walls:
    """What a command may reach: everything it sees to read, its own places to write."""

    def __init__(
        self,
        workspaces: str = "/proc/self/mountinfo",
        writable: tuple[str, ...] = (*_WRITABLE, *_DEVICES),
    ) -> None:
        """Ask the kernel what it can hold.

        Args:
            workspaces: Where mounts are listed; those of the source "workspace" may be written.
            writable: What else may be, as far as it exists.
        """
        self._writable = writable
        self._version = version()
        self._listing = workspaces
        self._handled = _READ | _WRITE_FILE | _REMOVE_AND_MAKE | _REFER
        for since, right in _SINCE:
            if self._version >= since:
                self._handled |= right

    def put_on(self) -> None:
        """Hold this process, which has given up gaining privileges.

        Raises:
            OSError: the kernel does not do it.
        """
        scopes = _SCOPES if self._version >= _SCOPES_SINCE else 0
        attributes = struct.pack("=QQQ", self._handled, 0, scopes)
        length = ctypes.c_size_t(24 if scopes else 8)
        ruleset = _checked(_libc.syscall(_CREATE, attributes, length, 0))
        try:
            self._allow(ruleset, "/", _READ)
            for place in (*self._writable, *self._workspaces()):
                self._allow(ruleset, place, self._handled)
            _checked(_libc.syscall(_RESTRICT, ruleset, 0))
        finally:
            os.close(ruleset)

    def _allow(self, ruleset: int, place: str, rights: int) -> None:
        try:
            parent = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if not stat.S_ISDIR(os.fstat(parent).st_mode):
                rights &= _OF_FILES
            rule = struct.pack("=Qi", rights & self._handled, parent)
            _checked(_libc.syscall(_ADD, ruleset, _BENEATH, rule, 0))
        finally:
            os.close(parent)

    def _workspaces(self) -> list[str]:
        """Return where workspaces are mounted: their place is known by the first command only.

        Source: proc_pid_mountinfo(5), fields 5 and 10.
        """
        found: list[str] = []
        with open(self._listing, "rb") as lines:
            for line in lines:
                words = line.split(b" ")
                if words[words.index(b"-") + 2] == b"workspace":
                    place = words[4].decode("unicode_escape").encode("latin-1")
                    found.append(os.fsdecode(place))
        return found


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
