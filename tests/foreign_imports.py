"""Import every module of LuminaGuard as if on another system; run as a program, by its test.

`python foreign_imports.py darwin|win32` pretends the platform's name, takes away the modules and
names of the standard library that the system lacks, then imports. Prints one line per module that
cannot be imported. The type checker finds uses inside functions; this finds those at import.
"""

import fcntl
import importlib
import os
import pkgutil
import select
import signal
import socket
import sys
import time
import urllib.request
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import anyio._backends._asyncio
import anyio.to_thread
import click.testing
import cryptography.hazmat.primitives.asymmetric.ed25519
import mcp.client.client
import mcp.server.streamable_http_manager
import pathspec
import pydantic_ai.direct
import qemu.qmp
import uvicorn

LOADED_BEFORE = (
    *(anyio, click, cryptography, mcp, pathspec, pydantic_ai, qemu, uvicorn, urllib.request),
)
"""Libraries hold on other systems by their own word; only our modules are on trial."""
OF_WINDOWS = ("msvcrt", "winreg")
"""Modules that a Windows has and this system has not; empty here."""

LINUX_ONLY = {
    os: (
        *("memfd_create", "pidfd_open", "pipe2", "O_TMPFILE", "O_PATH", "MFD_CLOEXEC", "eventfd"),
        *("MFD_ALLOW_SEALING", "splice", "copy_file_range", "sched_getaffinity", "getrandom"),
        *("setxattr", "getxattr", "listxattr", "removexattr", "posix_fadvise", "fdatasync"),
        *("setresuid", "setresgid", "getresuid", "O_DIRECT", "O_NOATIME"),
    ),
    fcntl: ("F_ADD_SEALS", "F_GET_SEALS", "F_SEAL_WRITE", "F_SEAL_SEAL", "F_SEAL_GROW"),
    signal: ("pidfd_send_signal", "SIGRTMIN", "SIGRTMAX", "SIGPWR", "sigtimedwait", "sigwaitinfo"),
    select: ("epoll", "EPOLLIN", "EPOLLOUT"),
    socket: ("AF_VSOCK", "AF_NETLINK", "AF_ALG", "SO_PEERCRED", "VMADDR_CID_ANY", "SOCK_CLOEXEC"),
    time: ("CLOCK_BOOTTIME", "CLOCK_TAI"),
}
POSIX_ONLY = {
    os: (
        *("geteuid", "getuid", "getgid", "getegid", "setuid", "setgid", "fork", "forkpty", "chown"),
        *("fchown", "lchown", "fchmod", "fchdir", "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC"),
        *("O_NONBLOCK", "O_SYNC", "pread", "pwrite", "preadv", "pwritev", "mkfifo", "mknod"),
        *("SEEK_DATA", "SEEK_HOLE", "killpg", "setsid", "getpgid", "setpgid", "tcsetpgrp", "nice"),
        *("statvfs", "fstatvfs", "sysconf", "wait4", "WNOHANG", "umount", "getgroups", "uname"),
        *("openpty", "ttyname", "ctermid", "confstr", "pathconf", "chroot", "initgroups"),
    ),
    signal: ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGSTOP", "SIGCONT"),
    socket: ("AF_UNIX", "SCM_RIGHTS", "CMSG_LEN", "recv_fds", "send_fds"),
    select: ("poll", "POLLIN"),
    time: ("CLOCK_MONOTONIC", "CLOCK_REALTIME", "clock_gettime", "tzset"),
}
POSIX_MODULES = {
    *("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "spwd", "crypt", "nis"),
    *("posix", "readline", "curses"),
}
LINUX_GUEST = "luminaguard_guest"
"""Linux by definition; of it, the host imports the wire only, and does so here too."""


class Absent(MetaPathFinder, Loader):
    """Finds nothing, loudly, for modules that a system lacks."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in POSIX_MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def pretend(platform: str) -> None:
    """Make this process look like one on another system, as far as imports can tell."""
    for module, names in LINUX_ONLY.items():
        take_away(module, names)
    if platform == "win32":
        for module, names in POSIX_ONLY.items():
            take_away(module, names)
        for name in POSIX_MODULES & sys.modules.keys():
            del sys.modules[name]
        sys.meta_path.insert(0, Absent())
        sys.modules.update({name: ModuleType(name) for name in OF_WINDOWS})
    sys.platform = platform


def take_away(module: ModuleType, names: tuple[str, ...]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def main(platform: str) -> int:
    import luminaguard

    modules = [luminaguard.__name__]
    roots = pkgutil.iter_modules(luminaguard.__path__, "luminaguard.")
    modules += [one.name for one in roots if not one.ispkg]
    pretend(platform)
    failed = 0
    modules += [one.name for one in pkgutil.walk_packages(luminaguard.__path__, "luminaguard.")]
    for name in sorted(set(modules) - {"luminaguard.__main__"}):
        try:
            importlib.import_module(name)
        except BaseException as problem:  # noqa: BLE001 - whatever it is, it is the finding
            failed += 1
            print(f"{name}: {type(problem).__name__}: {problem}")  # noqa: T201 - the result
    guest = sorted(one for one in sys.modules if one.startswith(f"{LINUX_GUEST}."))
    print(f"{len(set(modules))} modules; of the guest: {' '.join(guest)}")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
