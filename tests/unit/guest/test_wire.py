"""The wire survives whatever bytes arrive."""

import struct
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luminaguard_guest import wire

PATHS = st.binary(max_size=64)
MODES = st.integers(0, 0o7777)
NATURALS = st.integers(0, 2**62)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MANY = st.tuples() | st.lists(PATHS, max_size=6).map(tuple)

FROM_GUEST = st.one_of(
    st.builds(wire.Welcome, NATURALS, PATHS, TEXT, TEXT),
    st.builds(wire.Done),
    st.builds(wire.Failed, TEXT),
    st.builds(wire.Output, st.sampled_from([1, 2]), st.binary(max_size=300)),
    st.builds(wire.StdinTaken, st.integers(1, wire.STDIN_WINDOW_BYTES)),
    st.builds(wire.Finished, st.just("exited"), st.integers(0, 255), st.just(0), MANY),
    st.builds(wire.Finished, st.just("signaled"), st.just(0), st.integers(1, 64), MANY),
    st.builds(wire.UpperDirectory, PATHS, MODES, st.booleans(), st.none() | PATHS),
    st.builds(wire.UpperFile, PATHS, MODES, NATURALS, st.integers(-(2**63), 2**63 - 1)),
    st.builds(wire.FileBytes, NATURALS, st.binary(max_size=300)),
    st.builds(wire.UpperSymlink, PATHS, PATHS),
    st.builds(wire.Whiteout, PATHS),
    st.builds(wire.UpperSpecial, PATHS, st.sampled_from(["socket", "fifo", "char", "block"])),
    st.builds(wire.HarvestEnd, NATURALS),
)
ENV = st.lists(st.sampled_from([b"A=", b"PATH=/bin", b"x==\xff"]), max_size=3).map(tuple)
FROM_HOST = st.one_of(
    st.builds(wire.Hello, NATURALS, PATHS),
    st.builds(wire.Ping),
    st.builds(wire.Reseed, PATHS, NATURALS),
    st.builds(wire.Mount, PATHS, TEXT),
    st.builds(
        wire.Execute,
        st.lists(PATHS, min_size=1, max_size=4).map(tuple),
        st.none(),
        PATHS,
        ENV,
        st.integers(1, 2**40),
        st.booleans(),
    ),
    st.builds(wire.Execute, st.just(()), PATHS, PATHS, ENV, st.integers(1, 9), st.booleans()),
    st.builds(wire.Stdin, st.binary(max_size=300), st.booleans()),
    st.builds(wire.Kill),
    st.builds(wire.Harvest, MANY),
)
IDS = st.integers(0, 2**32 - 1)


def pieces(content: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    return [content[a:b] for a, b in pairwise(places)]


@given(st.lists(st.tuples(IDS, FROM_GUEST), max_size=8), st.lists(st.integers(0, 5000)))
def test_what_a_guest_says_arrives_as_it_was_said_however_it_is_cut(
    said: list[tuple[int, wire.Message]], cuts: list[int]
) -> None:
    stream = b"".join(wire.FROM_GUEST.encode(number, message) for number, message in said)
    decoder = wire.Decoder(wire.FROM_GUEST)
    heard = [item for piece in pieces(stream, cuts) for item in decoder.feed(piece)]
    assert heard == said
    assert decoder.buffered_bytes == 0


@given(IDS, FROM_HOST)
def test_what_the_host_says_arrives_as_it_was_said(number: int, message: wire.Message) -> None:
    decoder = wire.Decoder(wire.FROM_HOST)
    assert list(decoder.feed(wire.FROM_HOST.encode(number, message))) == [(number, message)]


@given(st.lists(st.binary(max_size=400), max_size=10))
@example([b"\0\0\0\0\x42\0\0\0\1"])
def test_random_bytes_are_messages_or_a_fault_and_nothing_else(parts: list[bytes]) -> None:
    decoder = wire.Decoder(wire.FROM_GUEST)
    try:
        for part in parts:
            list(decoder.feed(part))
    except wire.WireFault:
        pass
    assert decoder.buffered_bytes <= sum(map(len, parts))


@given(FROM_GUEST, st.data())
def test_a_changed_byte_is_another_message_or_a_fault_never_a_crash(
    message: wire.Message, data: st.DataObject
) -> None:
    frame = bytearray(wire.FROM_GUEST.encode(7, message))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    decoder = wire.Decoder(wire.FROM_GUEST)
    try:
        heard = list(decoder.feed(bytes(frame)))
    except wire.WireFault:
        return
    # Whatever was heard has exactly one encoding: the bytes that it came from.
    again = b"".join(wire.FROM_GUEST.encode(number, heard_one) for number, heard_one in heard)
    assert bytes(frame).startswith(again)


@given(FROM_GUEST, st.integers(0, 2000))
def test_half_a_message_is_no_message(message: wire.Message, cut: int) -> None:
    frame = wire.FROM_GUEST.encode(1, message)
    decoder = wire.Decoder(wire.FROM_GUEST)
    assert list(decoder.feed(frame[: cut % len(frame)])) == []


def test_a_frame_that_claims_too_much_is_refused_before_its_body_arrives() -> None:
    decoder = wire.Decoder(wire.FROM_GUEST)
    header = struct.pack(">IBI", wire.MAX_FRAME_BYTES + 1, wire.Output.TYPE, 1)
    with pytest.raises(wire.WireFault, match="claims"):
        list(decoder.feed(header))


def test_each_direction_refuses_the_other_directions_messages() -> None:
    with pytest.raises(wire.WireFault, match="unknown message type"):
        list(wire.Decoder(wire.FROM_GUEST).feed(wire.FROM_HOST.encode(1, wire.Ping())))
    with pytest.raises(wire.WireFault, match="unknown message type"):
        list(wire.Decoder(wire.FROM_HOST).feed(wire.FROM_GUEST.encode(1, wire.Done())))
    with pytest.raises(wire.WireFault, match="other direction"):
        wire.FROM_GUEST.encode(1, wire.Ping())


def frame(number: int, body: bytes) -> bytes:
    return struct.pack(">IBI", len(body), number, 1) + body


@pytest.mark.parametrize(
    ("number", "body"),
    [
        pytest.param(wire.Done.TYPE, b"\0", id="bytes after the last field"),
        pytest.param(wire.HarvestEnd.TYPE, b"\0" * 7, id="a field cut short"),
        pytest.param(wire.Whiteout.TYPE, b"\0\0\0\x05abc", id="a length beyond the body"),
        pytest.param(wire.Failed.TYPE, b"\0\0\0\x01\xff", id="text that is not UTF-8"),
        pytest.param(wire.Output.TYPE, struct.pack(">qI", 3, 0), id="a third output stream"),
        pytest.param(wire.StdinTaken.TYPE, struct.pack(">q", -1), id="a negative count"),
        pytest.param(wire.StdinTaken.TYPE, struct.pack(">q", 1 << 40), id="an impossible count"),
        pytest.param(
            wire.UpperDirectory.TYPE, struct.pack(">IqBB", 0, 0o755, 2, 0), id="a truth value of 2"
        ),
        pytest.param(
            wire.UpperFile.TYPE, struct.pack(">Iqqq", 0, 0o644, -1, 0), id="a negative size"
        ),
        pytest.param(
            wire.UpperFile.TYPE, struct.pack(">Iqqq", 0, 1 << 20, 0, 0), id="an impossible mode"
        ),
        pytest.param(
            wire.FileBytes.TYPE, struct.pack(">qI1s", 2**63 - 1, 1, b"x"), id="an end beyond 2^63"
        ),
        pytest.param(wire.UpperSpecial.TYPE, b"\0\0\0\1p\0\0\0\4door", id="an unknown kind"),
        pytest.param(
            wire.Finished.TYPE, b"\0\0\0\6exited" + struct.pack(">qqI", 0, 9, 0), id="two endings"
        ),
        pytest.param(
            wire.Finished.TYPE,
            b"\0\0\0\6exited" + struct.pack(">qqI", 0, 0, 2**32 - 1),
            id="a list with more items than bytes",
        ),
    ],
)
def test_a_message_that_breaks_a_rule_is_refused(number: int, body: bytes) -> None:
    with pytest.raises(wire.WireFault):
        list(wire.Decoder(wire.FROM_GUEST).feed(frame(number, body)))


def test_a_message_too_large_for_the_wire_is_not_sent() -> None:
    with pytest.raises(wire.WireFault, match="too large"):
        wire.FROM_HOST.encode(1, wire.Stdin(bytes(wire.MAX_FRAME_BYTES + 1), last=True))


def test_messages_before_a_fault_are_heard_and_none_after_it() -> None:
    decoder = wire.Decoder(wire.FROM_GUEST)
    good = wire.FROM_GUEST.encode(1, wire.Done())
    heard: list[tuple[int, wire.Message]] = []
    with pytest.raises(wire.WireFault):
        heard.extend(decoder.feed(good + b"\xff" * 9 + good))
    assert len(heard) <= 1
