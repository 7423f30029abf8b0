"""Standard input in lines, so that waiting for the client can be given up at once."""

import os
from contextlib import suppress

import anyio

MAX_LINE_BYTES = 16 * 1024 * 1024
_READ_BYTES = 1 << 16


class Lines:
    """Lines of a descriptor. A line beyond `MAX_LINE_BYTES` ends them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = bytearray()

    def __aiter__(self) -> "Lines":
        """Return itself."""
        return self

    async def __anext__(self) -> str:
        """Return the next line; it ends where the input does."""
        looked = 0
        while (end := self._held.find(b"\n", looked)) < 0:
            looked = len(self._held)
            if looked > MAX_LINE_BYTES:
                raise StopAsyncIteration
            with suppress(OSError):  # a plain file is always ready
                await anyio.wait_readable(self._descriptor)
            more = os.read(self._descriptor, _READ_BYTES)
            if not more:
                raise StopAsyncIteration
            self._held += more
        line = bytes(self._held[: end + 1])
        del self._held[: end + 1]
        return line.decode("utf-8", "replace")
