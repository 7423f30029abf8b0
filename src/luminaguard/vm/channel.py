"""The host end of the guest wire: frames over a connected socket.

The only host module that knows the wire format. Everything that arrives is the word of a hostile
party: bounded before it is buffered, typed before it is used, refused on the first oddity.
"""

import socket

import anyio
import anyio.lowlevel

from luminaguard.errors import GuestError, GuestLost, WireError
from luminaguard_guest.wire import (
    CHUNK_BYTES,
    FROM_GUEST,
    FROM_HOST,
    STDIN_WINDOW_BYTES,
    VERSION,
    Decoder,
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
    WireFault,
)

__all__ = [
    "CHUNK_BYTES",
    "STDIN_WINDOW_BYTES",
    "VERSION",
    "Channel",
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
]

_RECEIVE_BYTES = 256 * 1024


class Channel:
    """Sends requests to a guest and receives its answers, in order.

    Owns the socket. One task receives at a time. What a cancelled `send` did not get rid of
    goes out with the next one, so cancellation never tears the stream. After the
    first error every use fails.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Take over one end of a connected stream socket."""
        connection.settimeout(0)  # a negative answer at once: waiting is the event loop's
        self._connection = connection
        self._decoder = Decoder(FROM_GUEST)
        self._arrived: list[tuple[int, Message]] = []
        self._outgoing = bytearray()
        self._sending = anyio.Lock()
        self._broken: GuestError | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an unfinished frame held for the guest: never more than one frame."""
        return self._decoder.buffered_bytes

    async def send(self, request_id: int, message: Message) -> None:
        """Send one message; returns when the kernel has taken it.

        Raises:
            GuestError: the message is too large for the wire; nothing was sent.
            GuestLost: the guest is gone.
        """
        self._check()
        try:
            frame = FROM_HOST.encode(request_id, message)
        except WireFault as fault:
            raise GuestError(
                f"the request does not fit the guest wire: {fault}",
                hint="send large content as a file in the workspace",
            ) from fault
        self._outgoing += frame
        async with self._sending:
            await self._flush()

    async def _flush(self) -> None:
        while self._outgoing:
            try:
                sent = self._connection.send(self._outgoing)
            except BlockingIOError:
                await anyio.wait_writable(self._connection)
            except OSError as error:
                raise self.give_up(GuestLost("the guest's channel is closed")) from error
            else:
                del self._outgoing[:sent]

    async def receive(self) -> tuple[int, Message]:
        """Return the guest's next message and the id of the request that it answers.

        Raises:
            GuestLost: the guest is gone.
            WireError: the guest broke the protocol.
        """
        self._check()
        while not self._arrived:
            content = await self._read()
            try:
                self._arrived.extend(self._decoder.feed(content))
            except WireFault as fault:
                raise self.give_up(WireError(f"the guest broke the protocol: {fault}")) from fault
            self._arrived.reverse()
        await anyio.lowlevel.checkpoint_if_cancelled()
        return self._arrived.pop()

    async def _read(self) -> bytes:
        # A guest that never stops sending must not keep the event loop to itself.
        await anyio.lowlevel.checkpoint()
        while True:
            try:
                content = self._connection.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._connection)
                continue
            except OSError as error:
                raise self.give_up(GuestLost("the guest's channel is closed")) from error
            if not content:
                raise self.give_up(GuestLost("the guest is gone: its channel was closed"))
            return content

    def give_up(self, error: GuestError) -> GuestError:
        """Refuse every further use with this error, which is returned to be raised."""
        if self._broken is None:
            self._broken = error
        return error

    def _check(self) -> None:
        if self._broken is not None:
            raise type(self._broken)(str(self._broken), hint=self._broken.hint)

    def close(self) -> None:
        """Close the socket; the guest can no longer be reached. Idempotent."""
        self.give_up(GuestLost("the channel to the guest is closed"))
        self._connection.close()
