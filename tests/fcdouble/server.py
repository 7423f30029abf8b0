"""The interface on a unix socket: HTTP as Firecracker speaks it, in front of an engine."""

import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from fcdouble.description import answer_problem, operation
from fcdouble.engine import Engine
from fcdouble.vsockside import listen


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine
    owner: "ApiServer"

    def version_string(self) -> str:
        return "Firecracker API"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        """Say nothing."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        act = self.engine.breaks.get((self.command, self.path))
        if act == "die":
            self.owner.die()
            return
        if act == "hang":
            self._hang()
            return
        if act == "nonsense":
            self.wfile.write(b"\x00\x01 nonsense\r\n\r\n")
            self.close_connection = True
            return
        if act == "odd":
            self._send_plain(200, b'{"id": 5}')
            return
        status, body = self.engine.handle(self.command, self.path, content)
        if act == "error":
            status, body = 500, {"fault_message": "Internal\x1b[2J error"}
        self._send(status, body)
        if self.engine.doomed:
            self.owner.die()

    def _hang(self) -> None:
        """Never answer; note when the other end has given up."""
        self.connection.settimeout(0.02)
        while not self.owner.closing.is_set():
            with suppress(TimeoutError):
                if not self.connection.recv(1):
                    self.owner.given_up.set()
                    return

    def _send(self, status: int, body: object) -> None:
        known = operation(self.command, self.path)
        if known is not None:
            problem = answer_problem(known[0], status, body)
            assert problem is None, f"the double itself is wrong: {problem}"
        self._send_plain(status, None if body is None else json.dumps(body).encode())

    def _send_plain(self, status: int, content: bytes | None) -> None:
        self.send_response(status)
        if content is not None:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content or b"")

    do_GET = do_PUT = do_PATCH = _answer  # noqa: N815 - names of the base class


class ApiServer:
    """Serves one engine in threads until it is stopped, or dies."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self.alive = True
        self.closing = threading.Event()
        self.given_up = threading.Event()
        """Somebody no longer waits for an answer that never came."""
        self._listener = listen(path)
        self._handler = type("Handler", (_Handler,), {"engine": engine, "owner": self})
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def die(self) -> None:
        """End at once, as a killed process does: everything that was open is closed."""
        self.alive = False
        self.closing.set()
        for one in (self._listener, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.engine.close()

    def stop(self) -> None:
        """End, and wait until all is gone. Idempotent."""
        self.die()
        for thread in self._threads:
            thread.join(5)
        for one in (self._listener, *self._connections):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError):
            self._handler(connection, ("local", 0), self)  # type: ignore[arg-type]
