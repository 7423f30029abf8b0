"""A guest agent that speaks the real wire and lies: what a taken-over guest could do to the host.

`HostileGuest` sits at the far end of a socketpair, where a machine's agent would be. It answers
every request as a sound agent does, but what it reports of the workspace is whatever the test says.

    async with hostile_guest(records=[Whiteout(b"../../etc/passwd")]) as client:
        async for record in client.harvest(): ...
"""

import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import anyio

from luminaguard.domain import harvest
from luminaguard.vm.channel import Channel
from luminaguard.vm.guest import GuestClient
from luminaguard_guest import wire

Said = wire.Message | bytes
"""What a guest says to a request: a message in a proper frame, or raw bytes instead of one."""

Answering = Callable[[wire.Message], Iterable[Said] | None]
"""Answers for a request, or None for the usual ones."""

_SEND_LIMIT_S = 5.0


class HostileGuest:
    """The guest's end of the channel, scripted.

    `records` are what a harvest yields: wire messages, records of `luminaguard.domain.harvest`, or
    raw bytes. `claimed` is the count that the end of the harvest claims (the true one if None).
    `answering` may take over any request; `stdout` is what every command seems to print.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        records: Sequence[Said | harvest.UpperRecord] = (),
        claimed: int | None = None,
        answering: Answering | None = None,
        stdout: bytes = b"",
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._records = [as_message(record) for record in records]
        self._claimed = len(self._records) if claimed is None else claimed
        self._answering = answering
        self._stdout = stdout
        self.heard: list[wire.Message] = []
        """Every request so far."""

    async def serve(self) -> None:
        """Answer until the host hangs up."""
        decoder = wire.Decoder(wire.FROM_HOST)
        while content := await self._receive():
            for request_id, message in decoder.feed(content):
                self.heard.append(message)
                said = self._answering(message) if self._answering else None
                await self._say(request_id, self._usual(message) if said is None else said)

    def _usual(self, request: wire.Message) -> Iterable[Said]:
        match request:
            case wire.Hello(nonce=nonce):
                return [wire.Welcome(wire.VERSION, nonce, "3.11.2", "6.1.0")]
            case wire.Execute():
                output = [wire.Output(1, self._stdout)] if self._stdout else []
                return [*output, wire.Finished("exited", 0, 0, ())]
            case wire.Harvest():
                return [*self._records, wire.HarvestEnd(self._claimed)]
            case wire.Stdin() | wire.Kill():
                return []
            case _:
                return [wire.Done()]

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._connection.recv(65536)
            except BlockingIOError:
                await anyio.wait_readable(self._connection)
            except OSError:
                return b""

    async def _say(self, request_id: int, said: Iterable[Said]) -> None:
        for item in said:
            raw = item if isinstance(item, bytes) else wire.FROM_GUEST.encode(request_id, item)
            await self._send(raw)

    async def _send(self, content: bytes) -> None:
        left = memoryview(content)
        with anyio.fail_after(_SEND_LIMIT_S):
            while left:
                try:
                    left = left[self._connection.send(left) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._connection)
                except OSError:
                    return


def as_message(record: Said | harvest.UpperRecord) -> Said:
    """Return the wire's form of a harvest record; anything else as it is."""
    match record:
        case harvest.UpperDirectory(path=path, mode=mode, opaque=opaque, redirect=redirect):
            return wire.UpperDirectory(path, mode, opaque, redirect)
        case harvest.UpperFile(path=path, mode=mode, size=size, mtime_ns=mtime_ns):
            return wire.UpperFile(path, mode, size, mtime_ns)
        case harvest.FileBytes(offset=offset, content=content):
            return wire.FileBytes(offset, content)
        case harvest.UpperSymlink(path=path, target=target):
            return wire.UpperSymlink(path, target)
        case harvest.Whiteout(path=path):
            return wire.Whiteout(path)
        case harvest.UpperSpecial(path=path, kind=kind):
            return wire.UpperSpecial(path, kind)
        case _:
            return record


@asynccontextmanager
async def hostile_guest(
    *,
    records: Sequence[Said | harvest.UpperRecord] = (),
    claimed: int | None = None,
    answering: Answering | None = None,
    stdout: bytes = b"",
    grace_s: float = 5.0,
) -> AsyncGenerator[GuestClient]:
    """Give a client that talks to a `HostileGuest` over a real socketpair."""
    ours, theirs = socket.socketpair()
    guest = HostileGuest(
        theirs, records=records, claimed=claimed, answering=answering, stdout=stdout
    )
    client = GuestClient(Channel(ours), grace_s=grace_s)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(guest.serve)
        try:
            yield client
        finally:
            client.close()
            tasks.cancel_scope.cancel()
            theirs.close()
