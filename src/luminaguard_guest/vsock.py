"""The agent's way to the host where the machine has a socket device instead of a serial port.

The host connects; a machine that was saved and restored has lost its connection without a word, so
the next one replaces it. The agent sees one descriptor for all of that: an epoll instance that is
readable whenever there is something to do.
"""

import os
import select
import socket
from collections.abc import Callable, Iterator

from luminaguard_guest.port import Port
from luminaguard_guest.wire import FROM_HOST, Decoder, Message

PORT = 5201
"""Where the agent listens; the host's `vm.backends.firecracker.shape` has the same number."""
_DEVICE = "/dev/vsock"
_HOST_CID = 2
"""Source: vsock(7), VMADDR_CID_HOST."""
_BACKLOG = 4
_READ_BYTES = 64 * 1024
_WRITE_BYTES = 64 * 1024


class VsockPort(Port):
    """Messages in, messages out, over whichever connection the host made last.

    What is said while there is no connection is dropped: nobody asked for it any more.
    """

    def __init__(self, listener: socket.socket, is_host: Callable[[object], bool]) -> None:
        """Take over a listening socket.

        `is_host`: whether a peer's address is the host's; others are turned away.
        """
        listener.settimeout(0)
        self._listener = listener
        self._is_host = is_host
        self._connection: socket.socket | None = None
        self._watch = select.epoll()
        self._watch.register(listener, select.EPOLLIN)
        super().__init__(self._watch.fileno())

    def read(self) -> Iterator[tuple[int, Message]]:
        """Give the messages that arrived, each with its request id."""
        self._accept()
        if self._connection is None:
            return iter(())
        try:
            content = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            content = b""
        except OSError:
            self._drop()
            return iter(())
        else:
            if not content:
                self._drop()
                return iter(())
        return self._decoder.feed(content)

    def say(self, request_id: int, message: Message) -> None:
        """Queue a message."""
        super().say(request_id, message)
        if self._connection is None:
            self._outgoing.clear()

    def flush(self) -> None:
        """Write as much as the host takes now."""
        while self._connection is not None and self._outgoing:
            try:
                written = self._connection.send(self._outgoing[:_WRITE_BYTES])
            except BlockingIOError:
                break
            except OSError:
                self._drop()
                return
            del self._outgoing[:written]
        if self._connection is not None:
            wanted = select.EPOLLIN | (select.EPOLLOUT if self._outgoing else 0)
            self._watch.modify(self._connection, wanted)

    def close(self) -> None:
        """Listen no longer, and forget the connection."""
        self._drop()
        self._watch.close()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # the host hung up before it was served
                return
            if not self._is_host(peer):
                connection.close()
                continue
            self._drop()
            connection.settimeout(0)
            self._connection = connection
            self._watch.register(connection, select.EPOLLIN)

    def _drop(self) -> None:
        """Forget the connection and what was half said over it."""
        if self._connection is not None:
            self._watch.unregister(self._connection)
            self._connection.close()
            self._connection = None
        self._decoder = Decoder(FROM_HOST)
        self._outgoing.clear()


def has_vsock() -> bool:
    """Whether the kernel has the address family."""
    return os.path.exists(_DEVICE)


def open_vsock() -> VsockPort:
    """Listen for the host. Source: vsock(7).

    Raises:
        OSError: the kernel does not let us.
    """
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        listener.bind((socket.VMADDR_CID_ANY, PORT))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return VsockPort(listener, _is_host)


def _is_host(peer: object) -> bool:
    return isinstance(peer, tuple) and peer[:1] == (_HOST_CID,)
