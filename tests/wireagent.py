"""A guest agent in a thread: speaks the real wire over a socket, and keeps its changes in memory.

For backends whose machines cannot run here: everything on the host's side of the socket is the
product's own code. It knows a handful of programs, those that the conformance suite uses.
"""

import hashlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hostile import as_message
from luminaguard.testing.upper import UpperLayer
from luminaguard_guest import wire

Looking = Callable[[], str | None]
"""Looks at the machine's disks when a workspace is mounted; returns what is wrong with them."""

_IDLE_S = 0.05
_CHANGE = "echo new > made.txt; rm a.txt; mkdir folder; ln -s made.txt link"


@dataclass(slots=True)
class GuestMind:
    """What survives a connection: the guest's memory."""

    entropy: bytes = b""
    upper: UpperLayer = field(default_factory=UpperLayer)
    heard: list[wire.Message] = field(default_factory=list[wire.Message])
    drawn: int = 0

    def random(self, size_bytes: int) -> bytes:
        """Return bytes that follow from the entropy alone, as a cloned guest's would."""
        self.drawn += 1
        return hashlib.shake_256(self.entropy + bytes([self.drawn])).digest(size_bytes)


class WireAgent(threading.Thread):
    """Serves one connection until it is closed."""

    def __init__(self, connection: socket.socket, mind: GuestMind, look: Looking) -> None:
        super().__init__(daemon=True, name="wire-agent")
        self._connection = connection
        self._mind = mind
        self._look = look
        self._decoder = wire.Decoder(wire.FROM_HOST)
        self._waiting: list[tuple[int, wire.Message]] = []
        self.running = threading.Event()
        """Cleared while the machine is paused: a paused guest answers nothing."""
        self.running.set()

    def run(self) -> None:
        """Answer requests."""
        try:
            while (arrived := self._next(None)) is not None:
                request_id, message = arrived
                self._mind.heard.append(message)
                self._answer(request_id, message)
        except OSError:
            pass
        finally:
            self._connection.close()

    def hang_up(self) -> None:
        """End the connection, as the end of the machine does."""
        self.running.set()
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def is_connected(self) -> bool:
        """Whether the host's end is still open."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _next(self, wait_s: float | None) -> tuple[int, wire.Message] | None:
        """Return the next message; None when the time is over or the host hung up."""
        until_s = None if wait_s is None else time.monotonic() + wait_s
        while not self._waiting:
            if until_s is not None and time.monotonic() >= until_s:
                return None
            if not select.select([self._connection], [], [], _IDLE_S)[0]:
                continue
            self.running.wait()
            content = self._connection.recv(1 << 16)
            if not content:
                return None
            self._waiting.extend(self._decoder.feed(content))
        return self._waiting.pop(0)

    def _answer(self, request_id: int, message: wire.Message) -> None:
        match message:
            case wire.Hello(nonce=nonce):
                self._say(request_id, wire.Welcome(wire.VERSION, nonce, "3.11.2", "6.1.0"))
            case wire.Reseed(entropy=entropy):
                self._mind.entropy = entropy
                self._say(request_id, wire.Done())
            case wire.Mount():
                wrong = self._look()
                self._mind.upper = UpperLayer()
                self._say(request_id, wire.Failed(wrong) if wrong else wire.Done())
            case wire.Execute():
                self._execute(request_id, message)
            case wire.Harvest(skip=skip):
                records = [as_message(one) for one in self._mind.upper.records(skip)]
                for record in records:
                    assert not isinstance(record, bytes)
                    self._say(request_id, record)
                self._say(request_id, wire.HarvestEnd(len(records)))
            case wire.Stdin() | wire.Kill():
                return
            case _:
                self._say(request_id, wire.Done())

    def _execute(self, request_id: int, order: wire.Execute) -> None:
        words = [os.fsdecode(word) for word in order.argv] or ["python"]
        script = words[2] if words[:2] == ["sh", "-c"] else " ".join(words)
        if script == "sleep 100":
            killed = self._next(order.timeout_ms / 1000) is not None
            self._finish(
                request_id, "signaled" if killed else "timed-out", 0, signal=9 * int(killed)
            )
        elif script == _CHANGE:
            self._change()
            self._finish(request_id, "exited", 0)
        elif script.startswith("head -c 16"):
            self._say(request_id, wire.Output(1, self._mind.random(48).hex().encode()))
            self._finish(request_id, "exited", 0)
        elif script == "head -c 100000 /dev/zero":
            for size in (wire.CHUNK_BYTES, 100_000 - wire.CHUNK_BYTES):
                self._say(request_id, wire.Output(1, bytes(size)))
            self._finish(request_id, "exited", 0)
        elif script == "no-such-program":
            self._finish(request_id, "not-started", 127)
        else:
            self._finish(request_id, "exited", {"false": 1, "exit 3": 3}.get(script, 0))

    def _change(self) -> None:
        upper = self._mind.upper
        upper.write("made.txt", b"new\n")
        upper.delete("a.txt")
        upper.mkdir("folder")
        upper.symlink("link", "made.txt")

    def _finish(self, request_id: int, ended: str, exit_code: int, *, signal: int = 0) -> None:
        self._say(request_id, wire.Finished(ended, exit_code, signal, ()))

    def _say(self, request_id: int, message: wire.Message) -> None:
        self._connection.sendall(wire.FROM_GUEST.encode(request_id, message))
