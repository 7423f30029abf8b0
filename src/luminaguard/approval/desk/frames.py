"""Frames between a desk and its screens: a length, then so many bytes.

Whatever is received was sent by somebody who may be anybody: lengths are checked before anything
is read, JSON is taken apart by `Fields`.
"""

import struct
from collections.abc import Mapping
from typing import Protocol

import anyio

from luminaguard.approval.codec.fields import Fields, Malformed, parsed
from luminaguard.approval.desk.refusals import DeskLost
from luminaguard.domain.calls import JsonValue, canonical_json

VERSION = 1
LONGEST_MESSAGE_BYTES = 1 << 24
"""Of everything but cards."""
_HEADER = struct.Struct(">I")
_CHUNK = 1 << 18


class ByteStream(Protocol):
    """What frames travel on: `anyio.abc.ByteStream`."""

    async def send(self, item: bytes) -> None:
        """Send all of it."""
        ...

    async def receive(self, max_bytes: int = ...) -> bytes:
        """Return at least one byte."""
        ...


class Frames:
    """Frames on one connection."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._kept = bytearray()

    async def send(self, content: bytes) -> None:
        """Send one frame.

        Raises:
            DeskLost: the other end is gone.
        """
        try:
            await self._stream.send(_HEADER.pack(len(content)) + content)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
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
                self._kept += await self._stream.receive(_CHUNK)
            except (
                anyio.EndOfStream,
                anyio.BrokenResourceError,
                anyio.ClosedResourceError,
            ) as error:
                raise _lost() from error
        content = bytes(self._kept[:size])
        del self._kept[:size]
        return content


def _lost() -> DeskLost:
    return DeskLost("the connection broke off", hint="`luminaguard audit list` tells how it ended")
