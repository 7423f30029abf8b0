"""The host end of the wire bounds, types and refuses what a guest sends."""

import socket
import struct
from collections.abc import Iterator

import anyio
import pytest

from luminaguard.errors import GuestError, GuestLost, WireError
from luminaguard.vm.channel import Channel
from luminaguard_guest import wire

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    with theirs:
        yield channel, theirs
        channel.close()


async def test_messages_arrive_in_order(pair: tuple[Channel, socket.socket]) -> None:
    channel, guest = pair
    said = [(1, wire.Output(1, b"a")), (1, wire.Output(2, b"b")), (2, wire.Done())]
    guest.sendall(b"".join(wire.FROM_GUEST.encode(number, message) for number, message in said))
    assert [await channel.receive() for _ in said] == said


async def test_a_closed_channel_means_that_the_guest_is_lost(
    pair: tuple[Channel, socket.socket],
) -> None:
    channel, guest = pair
    guest.close()
    with pytest.raises(GuestLost, match="gone"):
        await channel.receive()
    with pytest.raises(GuestLost):
        await channel.send(1, wire.Ping())


async def test_after_one_oddity_nothing_more_is_believed(
    pair: tuple[Channel, socket.socket],
) -> None:
    channel, guest = pair
    guest.sendall(b"\xff" * 64)
    with pytest.raises(WireError, match="broke the protocol"):
        await channel.receive()
    guest.sendall(wire.FROM_GUEST.encode(1, wire.Done()))
    with pytest.raises(WireError):
        await channel.receive()


async def test_a_frame_without_end_is_refused_before_it_is_buffered(
    pair: tuple[Channel, socket.socket],
) -> None:
    channel, guest = pair
    guest.sendall(struct.pack(">IBI", 2**32 - 1, wire.Output.TYPE, 1))
    with pytest.raises(WireError, match="claims"):
        await channel.receive()
    assert channel.buffered_bytes <= 16


async def test_a_slow_frame_is_held_within_its_bound(pair: tuple[Channel, socket.socket]) -> None:
    channel, guest = pair
    guest.setblocking(False)
    body = wire.MAX_FRAME_BYTES
    guest.send(struct.pack(">IBI", body, wire.Output.TYPE, 1))
    sent = 0

    async def drip() -> None:
        nonlocal sent
        while sent < body:
            await anyio.wait_writable(guest)
            sent += guest.send(bytes(min(65536, body - sent)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drip)
            with pytest.raises(WireError):  # zeros are no valid body
                await channel.receive()
            tasks.cancel_scope.cancel()
    assert channel.buffered_bytes <= wire.MAX_FRAME_BYTES + 9


async def test_a_cancelled_send_does_not_tear_the_stream(
    pair: tuple[Channel, socket.socket],
) -> None:
    channel, guest = pair
    large = wire.Stdin(bytes(2 * 1024 * 1024), last=True)
    with anyio.move_on_after(0.05) as scope:
        await channel.send(1, large)
    assert scope.cancelled_caught, "the socket took it all: nothing was cut"
    heard: list[tuple[int, wire.Message]] = []

    async def listen() -> None:
        decoder = wire.Decoder(wire.FROM_HOST)
        guest.setblocking(False)
        while len(heard) < 2:
            await anyio.wait_readable(guest)
            heard.extend(decoder.feed(guest.recv(65536)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await channel.send(1, wire.Kill())
    assert heard == [(1, large), (1, wire.Kill())]


async def test_what_does_not_fit_the_wire_is_refused_and_leaves_the_channel_usable(
    pair: tuple[Channel, socket.socket],
) -> None:
    channel, guest = pair
    with pytest.raises(GuestError, match="does not fit") as caught:
        await channel.send(1, wire.Stdin(bytes(wire.MAX_FRAME_BYTES + 1), last=True))
    assert caught.value.hint
    await channel.send(2, wire.Ping())
    assert list(wire.Decoder(wire.FROM_HOST).feed(guest.recv(100))) == [(2, wire.Ping())]


async def test_a_guest_that_never_stops_talking_leaves_the_event_loop_to_others(
    pair: tuple[Channel, socket.socket],
) -> None:
    channel, guest = pair
    guest.setblocking(False)
    flood = wire.FROM_GUEST.encode(1, wire.Output(1, bytes(60_000))) * 4

    async def talk() -> None:
        at = 0
        while True:
            await anyio.wait_writable(guest)
            at = (at + guest.send(flood[at:])) % len(flood)

    async def listen() -> None:
        while True:
            await channel.receive()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk)
            tasks.start_soon(listen)
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert channel.buffered_bytes <= wire.MAX_FRAME_BYTES
