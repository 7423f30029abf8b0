"""Hostile HTTP servers on a bare socket: they say whatever a script says, byte by byte."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

LONGEST_S = 20.0
Script = Callable[["Said"], None]


@dataclass(kw_only=True)
class Said:
    """One request, and the socket to answer it on."""

    connected: socket.socket
    verb: str
    headers: dict[str, str]
    message: dict[str, Any]
    over: threading.Event
    listening: socket.socket

    def hang_up(self) -> None:
        """Take no further connection."""
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    @property
    def method(self) -> str:
        return str(self.message.get("method", ""))

    @property
    def id(self) -> Any:
        return self.message.get("id")

    def raw(self, *parts: bytes) -> None:
        for part in parts:
            self.connected.sendall(part)

    def head(self, status: int = 200, kind: str = "application/json", *more: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", "connection: close", *more]
        self.raw("\r\n".join([*lines, "", ""]).encode())

    def json(self, answer: object, status: int = 200, *more: str) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.head(status, "application/json", f"content-length: {len(body)}", *more)
        self.raw(body)

    def result(self, result: object, message_id: object = None) -> None:
        answer_id = self.id if message_id is None else message_id
        self.json({"jsonrpc": "2.0", "id": answer_id, "result": result})


@dataclass(kw_only=True)
class RawServer:
    url: str
    asked: list[str] = field(default_factory=list)
    """Methods of all that was posted."""


def legacy(said: Said) -> bool:
    """Answer what a session needs to come up; false for anything else."""
    if said.verb != "POST":
        said.head(405)
    elif said.method == "server/discover":
        error = {"code": -32601, "message": "unknown method"}
        said.json({"jsonrpc": "2.0", "id": said.id, "error": error})
    elif said.method == "initialize":
        said.result(
            {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "raw", "version": "1"},
            }
        )
    elif said.id is None:
        said.head(202)
    elif said.method == "tools/list":
        said.result({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
    else:
        return False
    return True


@contextlib.contextmanager
def raw_server(script: Script, *, friendly: bool = True) -> Iterator[RawServer]:
    """Serve a script on a port of its own; friendly: the session comes up, the rest is scripted."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = RawServer(url=f"http://127.0.0.1:{listening.getsockname()[1]}/mcp")
    over = threading.Event()
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def serve(connected: socket.socket) -> None:
        with connected, contextlib.suppress(OSError, ValueError):
            said = _read(connected, over, listening)
            server.asked.append(said.method or said.verb)
            listing = said.method == "tools/list" and getattr(script, "listing", False)
            if listing or not (friendly and legacy(said)):
                script(said)
            connected.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = listening.accept()
                connected.settimeout(LONGEST_S)
                sockets.append(connected)
                thread = threading.Thread(target=serve, args=(connected,), daemon=True)
                threads.append(thread)
                thread.start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connected in sockets:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        for thread in [accepting, *threads]:
            thread.join(LONGEST_S)
            assert not thread.is_alive()


def _read(connected: socket.socket, over: threading.Event, listening: socket.socket) -> Said:
    with connected.makefile("rb") as file:
        verb = file.readline().decode().split(" ")[0]
        headers: dict[str, str] = {}
        while line := file.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", "0")))
    message = json.loads(body) if body else {}
    return Said(
        connected=connected,
        verb=verb,
        headers=headers,
        message=message,
        over=over,
        listening=listening,
    )
