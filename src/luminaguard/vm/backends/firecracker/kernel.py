"""The kernel as Firecracker wants it: the ELF file inside a distribution's compressed one.

Source: Linux, Documentation/arch/x86/boot.rst (`payload_offset`, `payload_length`); for LZ4 the
"legacy frame" and "block format" documents of its project.
"""

import bz2
import lzma
import struct
import subprocess
import zlib
from collections.abc import Callable

from luminaguard.errors import ImageError

_ELF = b"\x7fELF"
_HEADER = b"HdrS"
_OLDEST_PROTOCOL = 0x208
"""First boot protocol that says where the payload is."""
_LZ4_LEGACY = b"\x02\x21\x4c\x18"
_KERNEL_BYTES = 512 * 1024**2
_ZSTD_LIMIT_S = 60.0


def uncompressed(kernel: bytes) -> bytes:
    """Return the ELF kernel in a bzImage; an ELF kernel as it is. Blocking: seconds for LZ4.

    Raises:
        ImageError: it is neither, or packed in a way that is not known here.
    """
    if kernel.startswith(_ELF):
        return kernel
    if len(kernel) < 0x250 or kernel[0x202:0x206] != _HEADER:
        raise ImageError("the guest kernel is neither an ELF file nor a bzImage")
    if struct.unpack_from("<H", kernel, 0x206)[0] < _OLDEST_PROTOCOL:
        raise ImageError("the guest kernel's boot protocol is too old")
    start = ((kernel[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", kernel, 0x248)
    payload = kernel[start + offset : start + offset + length]
    for magic, unpack in _FORMATS.items():
        if payload.startswith(magic):
            return _checked(payload, unpack)
    raise ImageError(f"the guest kernel is packed in an unknown way ({payload[:4].hex()})")


def _checked(payload: bytes, unpack: Callable[[bytes], bytes]) -> bytes:
    try:
        found = unpack(payload)
    except (ValueError, IndexError, EOFError, OSError, lzma.LZMAError, zlib.error) as problem:
        raise ImageError(f"the guest kernel cannot be unpacked: {problem}") from problem
    if not found.startswith(_ELF):
        raise ImageError("what is packed in the guest kernel is no ELF file")
    return found


def _gzip(payload: bytes) -> bytes:
    # Four bytes with the unpacked size follow the stream.
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(payload, _KERNEL_BYTES)


def _xz(payload: bytes) -> bytes:
    return lzma.LZMADecompressor(memlimit=_KERNEL_BYTES).decompress(payload, _KERNEL_BYTES)


def _bzip2(payload: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(payload, _KERNEL_BYTES)


def _zstd(payload: bytes) -> bytes:
    """The standard library reads Zstandard from Python 3.14 on."""
    (size,) = struct.unpack("<I", payload[-4:])
    if size > _KERNEL_BYTES:
        raise ValueError("it would be too large")
    try:
        shown = subprocess.run(
            ["zstd", "-dcq"],
            input=payload[:-4],
            capture_output=True,
            check=False,
            timeout=_ZSTD_LIMIT_S,
        )
    except FileNotFoundError:
        raise ImageError(
            "zstd is not installed; this guest kernel needs it", hint="apt-get install zstd"
        ) from None
    except subprocess.TimeoutExpired as late:
        raise ValueError("zstd did not end in time") from late
    return shown.stdout


def _lz4(payload: bytes) -> bytes:
    """Unpack a legacy frame: blocks of (packed size, packed bytes), then the unpacked size."""
    (size,) = struct.unpack("<I", payload[-4:])
    if size > _KERNEL_BYTES:
        raise ValueError("it would be too large")
    out = bytearray()
    at, end = len(_LZ4_LEGACY), len(payload) - 4
    while at + 4 <= end and len(out) < size:
        (length,) = struct.unpack_from("<I", payload, at)
        at += 4
        if length > end - at:
            raise ValueError("a block is cut")
        out += lz4_block(payload[at : at + length])
        at += length
    if len(out) != size:
        raise ValueError("it has not the size that it should have")
    return bytes(out)


def lz4_block(packed: bytes) -> bytes:
    """Unpack one LZ4 block.

    Raises:
        ValueError: it refers to bytes before its start.
        IndexError: it is cut.
    """
    out = bytearray()
    at, end = 0, len(packed)
    while at < end:
        token = packed[at]
        at += 1
        literals = token >> 4
        if literals == 15:
            at, literals = _longer(packed, at, literals)
        out += packed[at : at + literals]
        at += literals
        if at >= end:
            break
        back = packed[at] | packed[at + 1] << 8
        at += 2
        length = token & 15
        if length == 15:
            at, length = _longer(packed, at, length)
        _repeat(out, back, length + 4)
    return bytes(out)


def _longer(packed: bytes, at: int, length: int) -> tuple[int, int]:
    while True:
        more = packed[at]
        at += 1
        length += more
        if more != 255:
            return at, length


def _repeat(out: bytearray, back: int, length: int) -> None:
    """Append `length` bytes that start `back` bytes ago; they may overlap what they make."""
    start = len(out) - back
    if back == 0 or start < 0:
        raise ValueError("it refers to bytes before its start")
    if back >= length:
        out += out[start : start + length]
    else:
        piece = bytes(out[start:])
        out += (piece * (length // back + 1))[:length]


_FORMATS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b\x08": _gzip,
    b"\xfd7zXZ\0": _xz,
    b"BZh": _bzip2,
    b"\x28\xb5\x2f\xfd": _zstd,
    _LZ4_LEGACY: _lz4,
}
"""First bytes → how it is unpacked."""
