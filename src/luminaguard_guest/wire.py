"""The wire between host and guest: typed messages in length-bounded frames.

A frame is a header (body length, message type, request id) and a body: the message's fields in
their order. There is nothing optional to misread: every field has one encoding, a body must be used
up to its last byte, and each direction accepts its own message types only. What does not fit raises
`WireFault`, and the stream is not usable any more.

The host speaks first. Every request has an id of the host's choosing; every answer carries the id
of its request. Both ends bound what they buffer: frames by `MAX_FRAME_BYTES`, standard input by
`STDIN_WINDOW_BYTES`, which the guest opens again with `StdinTaken`.
"""

import struct
from collections.abc import Iterator
from dataclasses import fields

from luminaguard_guest.fields import KINDS, WireFault, require
from luminaguard_guest.messages import (
    CHUNK_BYTES,
    MAX_FRAME_BYTES,
    STDIN_WINDOW_BYTES,
    VERSION,
    Done,
    Execute,
    Failed,
    FileBytes,
    Finished,
    Harvest,
    HarvestEnd,
    Hello,
    Kill,
    Message,
    Mount,
    Output,
    Ping,
    Reseed,
    Stdin,
    StdinTaken,
    Unmount,
    UpperDirectory,
    UpperFile,
    UpperSpecial,
    UpperSymlink,
    Welcome,
    Whiteout,
)

__all__ = [
    "CHUNK_BYTES",
    "FROM_GUEST",
    "FROM_HOST",
    "MAX_FRAME_BYTES",
    "STDIN_WINDOW_BYTES",
    "VERSION",
    "Codec",
    "Decoder",
    "Done",
    "Execute",
    "Failed",
    "FileBytes",
    "Finished",
    "Harvest",
    "HarvestEnd",
    "Hello",
    "Kill",
    "Message",
    "Mount",
    "Output",
    "Ping",
    "Reseed",
    "Stdin",
    "StdinTaken",
    "Unmount",
    "UpperDirectory",
    "UpperFile",
    "UpperSpecial",
    "UpperSymlink",
    "Welcome",
    "Whiteout",
    "WireFault",
]

_HEADER = struct.Struct(">IBI")


class Codec:
    """Turns messages into frames and back, for the message types of one direction."""

    def __init__(self, *messages: type[Message]) -> None:
        """Learn the fields of the messages."""
        self._messages = {kind.TYPE: kind for kind in messages}
        self._puts = {
            kind.TYPE: [(field.name, KINDS[field.type][0]) for field in fields(kind)]
            for kind in messages
        }
        self._gets = {
            kind.TYPE: [KINDS[field.type][1] for field in fields(kind)] for kind in messages
        }

    def encode(self, request_id: int, message: Message) -> bytes:
        """Return the frame of a message.

        Raises:
            WireFault: it is not of this direction, or too large.
        """
        number = message.TYPE
        if type(message) is not self._messages.get(number):
            raise WireFault("message of the other direction")
        out = [b""]
        for name, put in self._puts[number]:
            put(getattr(message, name), out)
        size = sum(map(len, out))
        if size > MAX_FRAME_BYTES:
            raise WireFault(f"a message of {size} bytes is too large")
        out[0] = _HEADER.pack(size, number, request_id)
        return b"".join(out)

    def knows(self, number: int) -> bool:
        """Whether this is the number of a message type of this direction."""
        return number in self._messages

    def decode(self, number: int, body: bytes) -> Message:
        """Return the message of a frame's body.

        Raises:
            WireFault: it breaks the protocol.
        """
        require(self.knows(number), f"unknown message type {number}")
        at = 0
        values: list[object] = []
        for get in self._gets[number]:
            value, at = get(body, at)
            values.append(value)
        require(at == len(body), "a message is longer than its fields")
        return self._messages[number](*values)


FROM_HOST = Codec(Hello, Ping, Reseed, Mount, Execute, Stdin, Kill, Harvest, Unmount)
FROM_GUEST = Codec(
    Welcome,
    Done,
    Failed,
    Output,
    StdinTaken,
    Finished,
    UpperDirectory,
    UpperFile,
    FileBytes,
    UpperSymlink,
    Whiteout,
    UpperSpecial,
    HarvestEnd,
)


class Decoder:
    """Takes bytes as they come and gives whole messages; buffers at most one frame and one feed."""

    def __init__(self, codec: Codec) -> None:
        """Decode messages of one direction."""
        self._codec = codec
        self._buffer = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """Bytes held that do not make a whole message yet."""
        return len(self._buffer)

    def feed(self, content: bytes) -> Iterator[tuple[int, Message]]:
        """Add bytes; return (request id, message) for each frame that they complete.

        Raises:
            WireFault: the bytes break the protocol; while iterating.
        """
        self._buffer += content
        return self._frames()

    def _frames(self) -> Iterator[tuple[int, Message]]:
        at = 0
        try:
            while len(self._buffer) - at >= _HEADER.size:
                length, number, request_id = _HEADER.unpack_from(self._buffer, at)
                require(length <= MAX_FRAME_BYTES, f"a frame claims {length} bytes")
                require(self._codec.knows(number), f"unknown message type {number}")
                start = at + _HEADER.size
                if len(self._buffer) - start < length:
                    break
                at = start + length
                message = self._codec.decode(number, bytes(self._buffer[start:at]))
                yield request_id, message
        finally:
            del self._buffer[:at]
