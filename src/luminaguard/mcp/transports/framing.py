"""Messages over pipes: one JSON document a line, bounded, and each answer to a question asked.

Answers to unknown ids, second answers, lines that are too long and floods end the connection.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse, jsonrpc_message_adapter

from luminaguard.errors import McpAnswerBroken, McpConnectionLost, McpError
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.transports.ports import Pipe, Streams
from luminaguard.mcp.transports.rate import Allowance

MOST_OPEN = 10_000
"""Questions without an answer that are remembered; the oldest are forgotten first."""
MOST_STRAY_LINES = 100
"""Lines that are no message: some servers print a greeting before they speak the protocol."""
CHUNK_BYTES = 65_536


@dataclass(slots=True)
class Ledger:
    """Which questions wait for an answer."""

    _open: dict[str, None] = field(default_factory=dict[str, None])

    def asked(self, message_id: object) -> None:
        """Note a question."""
        self._open[_key(message_id)] = None
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]

    def answered(self, message_id: object) -> bool:
        """Note an answer; false if nothing was asked, or it was answered before."""
        key = _key(message_id)
        known = key in self._open
        self._open.pop(key, None)
        return known


def _key(message_id: object) -> str:
    return str(message_id)  # servers in loosely typed languages answer 7 as "7"


@dataclass(slots=True)
class Lines:
    """Cuts a stream of bytes into lines, none longer than `most_bytes`."""

    most_bytes: int
    _kept: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that are complete now, without their ends.

        Raises:
            McpAnswerBroken: one grew too long.
        """
        self._kept += chunk
        lines: list[bytearray] = []
        if b"\n" in chunk:
            *lines, self._kept = self._kept.split(b"\n")
        if max(len(self._kept), *map(len, lines), 0) > self.most_bytes:
            self._kept = bytearray()
            raise McpAnswerBroken(f"a message is longer than {self.most_bytes} bytes")
        return [bytes(line) for line in lines]


@dataclass(slots=True, kw_only=True)
class Reader:
    """Turns bytes of a server into messages, and notices when it does not keep to the protocol."""

    limits: Limits
    now: Callable[[], float]
    ledger: Ledger = field(default_factory=Ledger)
    _stray: int = 0
    _lines: Lines = field(init=False)
    _allowance: Allowance = field(init=False)

    def __post_init__(self) -> None:
        self._lines = Lines(self.limits.answer_bytes)
        self._allowance = Allowance(
            per_s=self.limits.heard_bytes_per_s,
            at_once=self.limits.answer_bytes,
            at_s=self.now(),
        )

    def feed(self, chunk: bytes) -> Iterator[SessionMessage]:
        """Yield the messages that are complete now; those before a broken one as well.

        Raises:
            McpAnswerBroken: the connection is not to be used further.
        """
        for line in self._lines.feed(chunk):
            if line.strip() and (message := self._message(line)):
                yield message

    def _message(self, line: bytes) -> SessionMessage | None:
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._stray += 1
            if self._stray > MOST_STRAY_LINES or line.lstrip().startswith((b"{", b"[")):
                raise McpAnswerBroken("what comes is no message of the protocol") from None
            return None
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            # An error without an id answers what could not be read: nobody waits for it.
            if message.id is not None and not self.ledger.answered(message.id):
                raise McpAnswerBroken("an answer to something that was not asked, or a second one")
        elif not self._allowance.take(len(line), self.now()):
            raise McpAnswerBroken("more is sent unasked than a client can take")
        return SessionMessage(message)


@asynccontextmanager
async def framed(
    pipe: Pipe, limits: Limits, on_broken: Callable[[McpError], None]
) -> AsyncGenerator[Streams]:
    """Speak the protocol over a pipe; the pipe stays the caller's to close.

    `on_broken` is told why, when the stream of messages ends early.
    """
    incoming, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outbox, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    reader = Reader(limits=limits, now=anyio.current_time)

    async def read() -> None:
        async with incoming:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await _pump(pipe, reader, incoming, on_broken)
        on_broken(McpConnectionLost("the server ended the connection"))

    async def write() -> None:
        try:
            async with outgoing:
                async for item in outgoing:
                    message = item.message
                    if isinstance(message, JSONRPCRequest):
                        reader.ledger.asked(message.id)
                    text = message.model_dump_json(by_alias=True, exclude_unset=True)
                    await pipe.send(text.encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            incoming.close()  # whoever waits learns that the connection is over

    async with messages, outbox, anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        try:
            yield messages, outbox
        finally:
            tasks.cancel_scope.cancel()


async def _pump(
    pipe: Pipe,
    reader: Reader,
    incoming: MemoryObjectSendStream[SessionMessage | Exception],
    on_broken: Callable[[McpError], None],
) -> None:
    while True:
        chunk = await pipe.receive()
        try:
            for message in reader.feed(chunk):
                await incoming.send(message)
        except McpAnswerBroken as error:
            on_broken(error)
            return
