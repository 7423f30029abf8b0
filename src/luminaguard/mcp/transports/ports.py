"""What a way to a server is, for those that open one."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from mcp.client._transport import TransportStreams  # the SDK exports it nowhere else

Streams = TransportStreams
OpenTransport = Callable[[], AbstractAsyncContextManager[Streams]]
"""Opens the way to one endpoint. What it yields is closed, and its process ended, on the way out.

Invariants: no message it hands up is larger than the limits say; a failure is written into the
request's `Exchange`, or ends the stream; it never raises while the connection is in use.
"""


class Pipe(Protocol):
    """Bytes to and from a server: a process on the host, or one in a micro-VM."""

    async def receive(self) -> bytes:
        """Return what came next, at least one byte.

        Raises:
            anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError
        """
        ...

    async def send(self, chunk: bytes, /) -> None:
        """Pass on all of it.

        Raises:
            anyio.BrokenResourceError, anyio.ClosedResourceError
        """
        ...
