"""The two streams to a QEMU: inherited where a system can, over loopback where it cannot.

On Windows QEMU takes no descriptors, and Python's sockets know no AF_UNIX, which QEMU would offer
since 7.2. Its named pipes are readable by everybody as QEMU makes them, and no event loop of ours
waits on them. What is left is TCP on 127.0.0.1, which any process on the machine can reach. So
LuminaGuard listens, on a port that nobody else may share; QEMU is told to connect; only the first
connection counts, and only once Windows says that QEMU's own process holds its other end.
Source: CPython issue 77589; QEMU commit d409373b; Microsoft, "Named Pipe Security and Access
Rights", "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE".
"""

import socket
import sys
from collections.abc import Callable
from typing import Protocol

import anyio

from luminaguard.errors import GuestLost, HypervisorUnavailable
from luminaguard.vm.backends.qemu.portable.peers import Owner, windows_owner

_CONNECT_LIMIT_S = 20.0
_LOOPBACK = "127.0.0.1"


class Line(Protocol):
    """One stream to a QEMU that is about to start."""

    @property
    def option(self) -> str:
        """What the chardev `socket` is told."""
        ...

    @property
    def inherited(self) -> int | None:
        """Descriptor that QEMU inherits under the same number, if any."""
        ...

    async def connected(self, pid: int) -> socket.socket:
        """Return the host's end, once the process `pid` holds the other one.

        Raises:
            GuestLost: nobody came in time.
            HypervisorUnavailable: somebody else came.
        """
        ...

    def close(self) -> None:
        """Let go of what QEMU was given; the host's end stays open if it was taken."""
        ...


class InheritedLine:
    """A socket pair, for systems on which QEMU takes descriptors."""

    def __init__(self) -> None:
        """Make the pair."""
        self._ours, self._theirs = socket.socketpair()
        self._taken = False

    @property
    def option(self) -> str:
        """What the chardev `socket` is told."""
        return f"fd={self._theirs.fileno()}"

    @property
    def inherited(self) -> int | None:
        """QEMU's end."""
        return self._theirs.fileno()

    async def connected(self, pid: int) -> socket.socket:
        """Return our end: the other one went nowhere but to the child."""
        del pid
        self._taken = True
        return self._ours

    def close(self) -> None:
        """Close QEMU's end here, and ours if nobody took it."""
        self._theirs.close()
        if not self._taken:
            self._ours.close()


class LoopbackLine:
    """A listening socket that serves one connection, of one process."""

    inherited: int | None = None

    def __init__(self, owner: Owner = windows_owner) -> None:
        """Listen on a port of the system's choice."""
        self._owner = owner
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if sys.platform == "win32":
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            self._listener.bind((_LOOPBACK, 0))
            self._listener.listen(1)
            self._listener.settimeout(0)
        except OSError:
            self._listener.close()
            raise

    @property
    def option(self) -> str:
        """What the chardev `socket` is told: QEMU is the one who connects."""
        port = self._listener.getsockname()[1]
        return f"host={_LOOPBACK},port={port},server=off,ipv4=on,nodelay=on"

    async def connected(self, pid: int) -> socket.socket:
        """Accept one connection, and return it if `pid` made it."""
        try:
            with anyio.fail_after(_CONNECT_LIMIT_S):
                await anyio.wait_readable(self._listener)
        except TimeoutError:
            raise GuestLost("QEMU did not connect in time") from None
        connection, remote = self._listener.accept()
        try:
            holder = self._owner(remote, connection.getsockname())
            if holder != pid:
                raise HypervisorUnavailable(
                    f"process {holder} connected to a machine's port in place of QEMU",
                    hint="end that process; it may be attacking this machine",
                )
        except BaseException:
            connection.close()
            raise
        finally:
            self.close()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._listener.close()


def make_line(platform: str = sys.platform) -> Line:
    """Return the safest line that a system has."""
    kinds: dict[str, Callable[[], Line]] = {"win32": LoopbackLine}
    return kinds.get(platform, InheritedLine)()
