"""A kernel as VZLinuxBootLoader takes it: on Apple silicon an uncompressed arm64 Image.

Distributions ship arm64 kernels plain, gzip-compressed, or as an EFI program that unpacks itself.
Source: Linux Documentation/arch/arm64/booting.rst (Image header, magic at 56), and
drivers/firmware/efi/libstub/zboot-header.S (zimg at 4, payload offset and size at 8, kind at 24).
"""

import struct
import zlib

from luminaguard.errors import ImageError

_GZIP = b"\x1f\x8b"
_ZBOOT = b"zimg"
_ARM64 = b"ARM\x64"
_MAX_BYTES = 256 * 1024**2


def bootable_kernel(kernel: bytes, arch: str) -> bytes:
    """Return the bytes that can be booted on this architecture.

    Raises:
        ImageError: it is compressed in a way we cannot undo, or made for another processor.
    """
    if arch != "arm64":
        return kernel
    if kernel[:2] == b"MZ" and kernel[4:8] == _ZBOOT:
        kernel = _zboot_payload(kernel)
    if kernel[:2] == _GZIP:
        kernel = _unpacked(kernel)
    if kernel[56:60] != _ARM64:
        raise ImageError(
            "the image's kernel is not made for Apple silicon",
            hint="build or install an arm64 image",
        )
    return kernel


def _zboot_payload(kernel: bytes) -> bytes:
    offset, size = struct.unpack_from("<II", kernel, 8)
    kind = kernel[24:32].split(b"\0")[0]
    if kind != b"gzip":
        raise ImageError(f"the image's kernel is compressed with {kind.decode(errors='replace')}")
    return kernel[offset : offset + size]


def _unpacked(content: bytes) -> bytes:
    try:
        unpacker = zlib.decompressobj(wbits=31)
        kernel = unpacker.decompress(content, _MAX_BYTES)
    except zlib.error as damage:
        raise ImageError("the image's kernel is damaged", hint="build the image anew") from damage
    if not unpacker.eof:
        raise ImageError("the image's kernel is damaged or too large", hint="build the image anew")
    return kernel
