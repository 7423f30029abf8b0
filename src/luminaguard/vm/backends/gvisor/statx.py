"""A library of one function: `statx` without a flag that older releases of gVisor refuse.

`ls` and `stat` of coreutils 9 ask with AT_NO_AUTOMOUNT, and runsc 20221219 (Debian 12's) answers
EINVAL: both would fail on every file. No automounter runs in a sandbox, so the flag says nothing
there, and the function leaves it out. It is put into the unpacked root, and every program that is
linked dynamically loads it first (/etc/ld.so.preload): programs and shells need no setting for it.

The library is assembled here, from its few instructions, so that no compiler is needed and what
runs can be read. Source: System V ABI, "Object Files" and "Dynamic Linking", and its AMD64
supplement; Linux include/uapi/linux/fcntl.h; ld.so(8), "/etc/ld.so.preload".
"""

import platform
import struct
from pathlib import Path

VARIANT = "-statx"
"""Names roots that hold the library."""
_LIBRARY = "usr/lib/luminaguard/statx.so"
_PRELOAD = "etc/ld.so.preload"
_NAMES = b"\0statx\0__errno_location\0"
_PAGE = 0x1000
_HASH, _SYMBOLS, _STRINGS, _RELOCATION, _CODE = 0x120, 0x140, 0x190, 0x1B0, 0x1D0
_DYNAMIC, _ERRNO = _PAGE, _PAGE + 0x100
_CODE_BYTES = (
    "81e2fff7ffff"  # and edx, ~AT_NO_AUTOMOUNT
    "4989ca"  # mov r10, rcx
    "b84c010000"  # mov eax, 332 (statx)
    "0f05"  # syscall
    "483d01f0ffff"  # cmp rax, -4095
    "7301"  # jae: it failed
    "c3"  # ret
    "f7d8"  # neg eax
    "50"  # push rax
    "ff15{call}"  # call the C library's __errno_location
    "59"  # pop rcx
    "8908"  # mov [rax], ecx
    "83c8ff"  # or eax, -1
    "c3"  # ret
)
_CALL_END = 6 + 3 + 5 + 2 + 6 + 2 + 1 + 2 + 1 + 6
"""Where the call's instruction ends: its target is counted from there."""


def needed() -> bool:
    """Whether roots get the library: it is made of x86-64's instructions."""
    return platform.machine() == "x86_64"


def install(root: Path) -> None:
    """Put the library into an unpacked root, and have it loaded. Blocking."""
    place = root / _LIBRARY
    place.parent.mkdir(parents=True, exist_ok=True)
    place.parent.chmod(0o755)
    for file, content in ((place, library()), (root / _PRELOAD, f"/{_LIBRARY}\n".encode())):
        file.write_bytes(content)
        file.chmod(0o644)


def library() -> bytes:
    """Return the shared library: an ELF file."""
    size = _PAGE + 0x108
    content = bytearray(size)
    for offset, part in (
        (0, _file_header()),
        (64, b"".join(_parts(size))),
        (_HASH, struct.pack("<6I", 1, 3, 2, 0, 0, 1)),
        (_SYMBOLS, b"".join(_symbols())),
        (_STRINGS, _NAMES),
        (_RELOCATION, struct.pack("<QQq", _ERRNO, 1 << 32 | 6, 0)),
        (_CODE, _code()),
        (_DYNAMIC, _dynamic()),
    ):
        content[offset : offset + len(part)] = part
    return bytes(content)


def _code() -> bytes:
    to_errno = struct.pack("<i", _ERRNO - (_CODE + _CALL_END))
    return bytes.fromhex(_CODE_BYTES.format(call=to_errno.hex()))


def _file_header() -> bytes:
    """Return the first 64 bytes: a shared object (3) for AMD64 (62)."""
    kind = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    return kind + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 4, 0, 0, 0)


def _parts(size: int) -> list[bytes]:
    """Return the program headers: code, data, the dynamic section, and a stack without code."""
    load, dynamic, stack = 1, 2, 0x6474E551
    readable, writable, executable = 4, 2, 1
    rest = size - _PAGE

    def part(kind: int, rights: int, offset: int, length: int, align: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, rights, offset, offset, offset, length, length, align)

    return [
        part(load, readable | executable, 0, _CODE + len(_code()), _PAGE),
        part(load, readable | writable, _PAGE, rest, _PAGE),
        part(dynamic, readable | writable, _DYNAMIC, 0x100, 8),
        part(stack, readable | writable, 0, 0, 16),
    ]


def _symbols() -> list[bytes]:
    """Return nothing, what is needed of the C library (a global function), what is offered."""
    function = 1 << 4 | 2
    needed_name = _NAMES.index(b"__errno")
    return [
        bytes(24),
        struct.pack("<IBBHQQ", needed_name, function, 0, 0, 0, 0),
        struct.pack("<IBBHQQ", 1, function, 0, 1, _CODE, len(_code())),
    ]


def _dynamic() -> bytes:
    entries = {
        4: _HASH,
        5: _STRINGS,
        6: _SYMBOLS,
        7: _RELOCATION,
        8: 24,
        9: 24,
        10: len(_NAMES),
        11: 24,
        0: 0,
    }
    return b"".join(struct.pack("<QQ", kind, value) for kind, value in entries.items())
