"""A distribution's packed kernel gives up its ELF file, or a clear reason."""

import bz2
import gzip
import lzma
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.errors import ImageError
from luminaguard.vm.backends.firecracker.kernel import lz4_block, uncompressed

ELF = b"\x7fELF" + bytes(range(256)) * 64


def bzimage(payload: bytes, *, protocol: int = 0x20F, sectors: int = 4) -> bytes:
    head = bytearray((sectors + 1) * 512)
    head[0x1F1] = sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, protocol)
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload + b"tail"


def sized(packed: bytes) -> bytes:
    return packed + struct.pack("<I", len(ELF))


def literals(content: bytes) -> bytes:
    """Return an LZ4 block that repeats nothing."""
    length = len(content)
    if length < 15:
        return bytes([length << 4]) + content
    rest = length - 15
    return b"\xf0" + b"\xff" * (rest // 255) + bytes([rest % 255]) + content


def legacy_frame(content: bytes) -> bytes:
    block = literals(content)
    return sized(b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block)


@pytest.mark.parametrize(
    "payload",
    [
        sized(gzip.compress(ELF)),
        sized(lzma.compress(ELF, check=lzma.CHECK_CRC32)),
        sized(bz2.compress(ELF)),
        legacy_frame(ELF),
    ],
    ids=["gzip", "xz", "bzip2", "lz4"],
)
def test_each_packing_is_undone(payload: bytes) -> None:
    assert uncompressed(bzimage(payload)) == ELF


def test_a_kernel_that_is_not_packed_stays_as_it_is() -> None:
    assert uncompressed(ELF) is ELF


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (b"MZ" + bytes(1000), "neither"),
        (b"", "neither"),
        (bzimage(b"LZOP"), "unknown way"),
        (bzimage(sized(gzip.compress(ELF)), protocol=0x200), "too old"),
        (bzimage(sized(gzip.compress(b"text"))), "no ELF"),
        (bzimage(gzip.compress(ELF)[:40]), "no ELF"),
        (bzimage(legacy_frame(ELF)[:-4] + b"\xff\xff\xff\xff"), "cannot be unpacked"),
        (bzimage(legacy_frame(ELF)[:-4] + b"\x01\x00\x00\x00"), "cannot be unpacked"),
        (
            bzimage(b"\x02\x21\x4c\x18" + b"\xff\xff\xff\x7f" + b"\x09\0\0\0" * 2),
            "cannot be unpacked",
        ),
    ],
)
def test_what_is_no_kernel_is_refused_with_the_reason(kernel: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        uncompressed(kernel)


def test_a_repetition_may_overlap_what_it_makes() -> None:
    # "ab", then 2 back for 8: the second half of it is made by the first.
    assert lz4_block(b"\x24ab\x02\x00" + b"\x10!") == b"ab" + b"abababab" + b"!"


def test_a_repetition_from_before_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match="before its start"):
        lz4_block(b"\x14a\x05\x00\x00")


@given(st.binary(max_size=200))
def test_no_block_does_worse_than_fail(packed: bytes) -> None:
    with suppress(ValueError, IndexError):
        assert len(lz4_block(packed)) < 100_000


@given(st.binary(max_size=2000))
def test_literals_come_out_as_they_went_in(content: bytes) -> None:
    assert lz4_block(literals(content)) == content
