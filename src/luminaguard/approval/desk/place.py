"""Where desks are found: private sockets in a private directory, one for each process that asks.

Everything is done through a descriptor of the directory that was checked once, so nobody can put
another directory in its place in between; and long paths fit into a socket's short address.
"""

import os
import re
import secrets
import socket
import stat
import struct
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from luminaguard.errors import ApprovalError
from luminaguard.vm.directories import make_private
from luminaguard.vm.linux import DIRECTORY, NO_FOLLOW, user_id

BACKLOG = 128
_NAME = re.compile(r"(?P<pid>\d{1,10})-[0-9a-f]{8}\.sock")


class DeskPlace:
    """An open, checked directory of desks."""

    def __init__(self, path: Path, fd: int) -> None:
        """Use `opened` instead."""
        self.path = path
        self._fd = fd

    def listen(self) -> tuple[socket.socket, str]:
        """Return a listening socket and its name. It can be connected to before it is found.

        Raises:
            OSError: it cannot be made.
        """
        name = f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        incoming = f".{name}"
        listener = socket.socket(_unix(), socket.SOCK_STREAM)
        try:
            listener.settimeout(0)
            listener.bind(self._address(incoming))
            os.chmod(incoming, 0o600, dir_fd=self._fd)
            listener.listen(BACKLOG)
            # Named only now: whoever finds it and is refused may take it for dead.
            os.rename(incoming, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            listener.close()
            raise
        return listener, name

    def names(self) -> list[str]:
        """Return the names of all sockets that are this user's alone, by process id."""
        found = [name for name in os.listdir(self._fd) if self._is_desk(name)]
        return sorted(found, key=lambda name: (pid_of(name), name))

    def connect(self, name: str) -> socket.socket:
        """Return a connected socket that does not block.

        Raises:
            OSError: nobody listens (`ConnectionRefusedError`), or too many wait.
            ApprovalError: another user listens.
        """
        connection = socket.socket(_unix(), socket.SOCK_STREAM)
        try:
            connection.settimeout(0)
            connection.connect(self._address(name))
            if peer_of(connection)[1] != user_id():
                raise ApprovalError(f"{self.path / name} is answered by another user")
        except BaseException:
            connection.close()
            raise
        return connection

    def remove(self, name: str) -> None:
        """Remove a socket."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._fd)

    def sweep(self) -> None:
        """Remove the sockets of processes that ended without doing so."""
        for name in self.names():
            try:
                self.connect(name).close()
            except ConnectionRefusedError:
                self.remove(name)
            except (OSError, ApprovalError):
                continue

    def _is_desk(self, name: str) -> bool:
        if not _NAME.fullmatch(name):
            return False
        try:
            about = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISSOCK(about.st_mode) and about.st_uid == user_id()

    def _address(self, name: str) -> str:
        if sys.platform == "linux":
            return f"/proc/self/fd/{self._fd}/{name}"
        return str(self.path / name)


@contextmanager
def opened(runtime_dir: Path, *, make: bool) -> Generator[DeskPlace | None]:
    """Open the directory of desks below `runtime_dir`; None if there is none and `make` is not.

    Raises:
        ApprovalError: others can enter it, or it is not what it seems (a symbolic link, say).
    """
    path = runtime_dir / "desks"
    if not make and not os.path.lexists(path):
        yield None
        return
    try:
        private = make_private(path)
        fd = os.open(path, os.O_RDONLY | DIRECTORY | NO_FOLLOW)
    except OSError as error:
        raise _not_private(path) from error
    try:
        about = os.fstat(fd)
        mine = about.st_uid == user_id() and not stat.S_IMODE(about.st_mode) & 0o077
        if not (private and mine):
            raise _not_private(path)
        yield DeskPlace(path, fd)
    finally:
        os.close(fd)


def pid_of(name: str) -> int:
    """Return the process id that a socket's name tells."""
    found = _NAME.fullmatch(name)
    return int(found["pid"]) if found else 0


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return process id and uid of whoever is at the other end, as the kernel knows them.

    The process id is 0 where the kernel does not tell it. Source: unix(7), SO_PEERCRED; macOS,
    sys/ucred.h, LOCAL_PEERCRED.
    """
    if sys.platform == "linux":
        credentials = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII")
        )
        pid, uid, _ = struct.unpack("iII", credentials)
        return pid, uid
    if sys.platform == "darwin":
        version, uid = struct.unpack(
            "II", connection.getsockopt(0, 1, struct.calcsize("IIhI16I"))[:8]
        )
        return (0, uid) if version == 0 else (0, -1)
    raise _unsupported()


def _unix() -> socket.AddressFamily:
    if sys.platform == "win32":
        raise _unsupported()
    return socket.AF_UNIX


def _not_private(path: Path) -> ApprovalError:
    return ApprovalError(
        f"{path} is not a directory that only you can enter",
        hint=f"remove it; LuminaGuard makes it anew: rm -r {path}",
    )


def _unsupported() -> ApprovalError:
    return ApprovalError(
        "deciding from another process is not supported on this platform yet",
        hint="choose --approver tty, deny or all",
    )
