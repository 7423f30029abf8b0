"""Three Linux system calls that Python does not offer: openat2, renameat2 and sync_file_range.

They are what makes a commit safe: a path is resolved below the root and through no symbolic link
in one step that nobody can race, and a file takes another's place without ever being overwritten.
"""

import ctypes
import errno
import os
import sys
from functools import cache

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
"""Source: linux/openat2.h."""

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
"""Source: linux/fs.h, renameat2(2)."""

_OPENAT2 = 437
"""Same on every architecture. Source: asm-generic/unistd.h, openat2(2)."""

_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}
"""By machine. Source: the kernel's syscall tables."""

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV

_SYNC_FILE_RANGE_WRITE = 2
"""Source: sync_file_range(2)."""

_ATTEMPTS = 16
"""openat2 answers EAGAIN when a rename elsewhere raced its look-up. Source: openat2(2)."""


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def open_beneath(dir_fd: int, path: str, flags: int) -> int:
    """Open `path` below `dir_fd`, on its file system, and through no symbolic link.

    Raises:
        OSError: ELOOP where a part is a symbolic link, EXDEV where the path would leave the
            directory or enter another mount, ENOSYS where the kernel has no openat2 (before 5.6).
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "openat2 exists only on Linux")
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=0, resolve=_RESOLVE)
    code = errno.EAGAIN
    for _ in range(_ATTEMPTS):
        found = _libc().syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(dir_fd),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if found >= 0:
            return int(found)
        code = ctypes.get_errno()
        if code not in {errno.EAGAIN, errno.EINTR}:
            break
    raise OSError(code, os.strerror(code), path)


def rename(  # the four halves of two names, and how
    from_fd: int, from_name: str, to_fd: int, to_name: str, *, flags: int
) -> None:
    """Rename with RENAME_EXCHANGE or RENAME_NOREPLACE; never overwrites.

    Raises:
        OSError: EEXIST or ENOENT as renameat2(2) has it; ENOSYS where it does not exist; EINVAL
            where the file system cannot do it.
    """
    number = _RENAMEAT2.get(os.uname().machine) if sys.platform == "linux" else None
    if number is None:
        raise OSError(errno.ENOSYS, "renameat2 is not known on this platform")
    failed = _libc().syscall(
        ctypes.c_long(number),
        ctypes.c_int(from_fd),
        ctypes.c_char_p(os.fsencode(from_name)),
        ctypes.c_int(to_fd),
        ctypes.c_char_p(os.fsencode(to_name)),
        ctypes.c_uint(flags),
    )
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), from_name, None, to_name)


def start_writeback(fd: int) -> None:
    """Ask the kernel to begin writing a file's bytes; nothing is promised, nothing waited for."""
    if sys.platform == "linux":
        zero = ctypes.c_int64(0)
        _libc().sync_file_range(ctypes.c_int(fd), zero, zero, ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))
