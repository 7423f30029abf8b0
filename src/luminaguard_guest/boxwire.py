"""What agent and box say to each other: the wire's frames, with descriptors beside them."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from luminaguard_guest.wire import (
    Codec,
    Decoder,
    Done,
    Execute,
    Failed,
    Finished,
    Kill,
    Message,
    Ping,
)

_DESCRIPTORS = 8


@dataclass(frozen=True, slots=True)
class Become:
    """Become this program. With it: its three standard streams and its cgroup's member list."""

    TYPE: ClassVar[int] = 33
    argv: tuple[bytes, ...]
    code: bytes | None
    cwd: bytes
    env: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Attach:
    """Attach the detached mounts that come with this message, in their order."""

    TYPE: ClassVar[int] = 32
    targets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Detach:
    """Unmount these places, in their order."""

    TYPE: ClassVar[int] = 34
    targets: tuple[bytes, ...]


TO_BOX = Codec(Ping, Execute, Kill, Attach, Detach)
FROM_BOX = Codec(Done, Failed, Finished)
TO_CHILD = Codec(Become)


def descriptors_with(message: Message) -> int:
    """How many descriptors travel with a message."""
    match message:
        case Execute():
            return 3
        case Become():
            return 4
        case Attach(targets=targets):
            return len(targets)
        case _:
            return 0


class Receiver:
    """Reads messages and the descriptors that belong to them."""

    def __init__(self, codec: Codec) -> None:
        """Read messages of one direction."""
        self._decoder = Decoder(codec)
        self._arrived: list[tuple[int, Message]] = []
        self._descriptors: list[int] = []

    def read(self, connection: socket.socket) -> bool:
        """Read what is there; False when the peer is gone."""
        content, descriptors, _, _ = socket.recv_fds(connection, 65536, _DESCRIPTORS)
        for descriptor in descriptors:
            # What comes over a socket is otherwise inherited by the command, its cgroup among it.
            # Python 3.11's `recv_fds` takes flags, MSG_CMSG_CLOEXEC too, and ignores them.
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional only
        self._descriptors += descriptors
        self._arrived += self._decoder.feed(content)
        return bool(content)

    def messages(self) -> Iterator[tuple[int, Message, list[int]]]:
        """Give each whole message with its descriptors, which become the caller's."""
        while self._arrived:
            request_id, message = self._arrived.pop(0)
            count = descriptors_with(message)
            descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
            yield request_id, message, descriptors


def send(
    connection: socket.socket, codec: Codec, request_id: int, message: Message, *fds: int
) -> None:
    """Send a message with descriptors, which stay the caller's."""
    frame = codec.encode(request_id, message)
    sent = socket.send_fds(connection, [frame], list(fds)) if fds else 0
    connection.sendall(memoryview(frame)[sent:])
