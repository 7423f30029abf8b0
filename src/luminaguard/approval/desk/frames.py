"""Frames between a desk and its screens: a length, then so many bytes.

Whatever is received was sent by somebody who may be anybody: lengths are checked before anything
is read, JSON is taken apart by `Fields`.
"""

import struct
from collections.abc import Mapping
from socket import socket

import anyio

from luminaguard.approval.codec.fields import Fields, Malformed, parsed
from luminaguard.approval.desk.refusals import DeskLost
from luminaguard.domain.calls import JsonValue, canonical_json

VERSION = 1
LONGEST_MESSAGE_BYTES = 1 << 24
"""Of everything but cards."""
_HEADER = struct.Struct(">I")
_CHUNK = 1 << 18


class Frames:
    """Frames on one connected socket that does not block; its owner closes it."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._kept = bytearray()

    async def send(self, content: bytes) -> None:
        """Send one frame.

        Raises:
            DeskLost: the other end is gone.
        """
        left = memoryview(_HEADER.pack(len(content)) + content)
        while left:
            try:
                left = left[self._connection.send(left[:_CHUNK]) :]
            except BlockingIOError:
                await anyio.wait_writable(self._connection)
            except OSError as error:
                raise _lost() from error

    async def receive(self, *, longest: int = LONGEST_MESSAGE_BYTES) -> bytes:
        """Return the next frame.

        Raises:
            DeskLost: the other end is gone, also in the middle of a frame.
            Malformed: the frame is longer than `longest`.
        """
        (length,) = _HEADER.unpack(await self._exactly(_HEADER.size))
        if length > longest:
            raise Malformed(f"a message of {length:,} bytes is too long")
        return await self._exactly(length)

    async def send_fields(self, fields: Mapping[str, JsonValue]) -> None:
        """Send one object."""
        await self.send(canonical_json({"v": VERSION, **fields}))

    async def receive_fields(self, *, longest: int = LONGEST_MESSAGE_BYTES) -> Fields:
        """Return the next object.

        Raises:
            Malformed: it is none, or of another version.
        """
        content = await self.receive(longest=longest)
        fields = Fields(parsed(content, longest_bytes=longest))
        if fields.integer("v") != VERSION:
            raise Malformed(
                "the other process runs another version of LuminaGuard",
                hint="use the version that the asking process runs",
            )
        return fields

    async def _exactly(self, size: int) -> bytes:
        while len(self._kept) < size:
            try:
                came = self._connection.recv(_CHUNK)
            except BlockingIOError:
                await anyio.wait_readable(self._connection)
                continue
            except OSError as error:
                raise _lost() from error
            if not came:
                raise _lost()
            self._kept += came
        content = bytes(self._kept[:size])
        del self._kept[:size]
        return content


def _lost() -> DeskLost:
    return DeskLost("the connection broke off", hint="`luminaguard audit list` tells how it ended")
