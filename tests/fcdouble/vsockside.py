"""The host's side of the socket device: `CONNECT <port>`, `OK <port>`, then the guest's bytes."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fcdouble.guest import WireGuest

AGENT_PORT = 5201
_GRANTED = b"OK 1073741824\n"


def at(root: Path, inside: str) -> Path:
    """Return where a path of Firecracker's lies."""
    return root / inside.lstrip("/")


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Give a path of the same socket that fits an address, however deep it lies."""
    place = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{place}/{path.name}" if len(str(path)) > 100 else str(path)
    finally:
        os.close(place)


def listen(path: Path) -> socket.socket:
    """Listen on a socket, however long its path is."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short(path) as place:
            listener.bind(place)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener


class VsockSide:
    """Accepts connections; those for the agent's port reach the guest while it runs."""

    def __init__(self, path: Path) -> None:
        self._listener = listen(path)
        self._running = threading.Event()
        self._closed = False
        self._guest: WireGuest | None = None
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def start(self, guest: WireGuest) -> None:
        self._guest = guest
        self._running.set()
        self._threads[0].start()

    def run(self, *, running: bool) -> None:
        if running:
            self._running.set()
        else:
            self._running.clear()

    def close(self) -> None:
        self._closed = True
        self._running.set()
        for one in (self._listener, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(5)
        for one in (self._listener, *self._connections):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._closed:
                connection.close()
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            line = b""
            while not line.endswith(b"\n") and len(line) < 32:
                piece = connection.recv(1)
                if not piece:
                    return
                line += piece
            self._running.wait(10)
            if line != b"CONNECT %d\n" % AGENT_PORT or self._guest is None or self._closed:
                connection.shutdown(socket.SHUT_RDWR)
                return
            connection.sendall(_GRANTED)
            self._guest.serve(connection)
            connection.shutdown(socket.SHUT_RDWR)
