"""Archives in the form that the Linux kernel unpacks as its first root file system.

The same entries always give the same bytes: no time, no owner but root, inodes counted from 1.
Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst ("newc").
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpioEntry:
    """One directory or regular file; `path` is relative and has no `..`."""

    path: str
    mode: int
    """File type and permission bits, as in `st_mode`."""
    content: bytes = b""


def directory(path: str, mode: int = 0o755) -> CpioEntry:
    """Return the entry of a directory."""
    return CpioEntry(path=path, mode=stat.S_IFDIR | mode)


def file(path: str, content: bytes, mode: int = 0o644) -> CpioEntry:
    """Return the entry of a regular file."""
    return CpioEntry(path=path, mode=stat.S_IFREG | mode, content=content)


def pack(entries: Iterable[CpioEntry]) -> bytes:
    """Write the entries in the order given, as one archive padded to 512 bytes.

    Archives may be concatenated: the kernel unpacks one after the other.
    """
    parts = [_record(number, entry) for number, entry in enumerate(entries, start=1)]
    parts.append(_record(0, CpioEntry(path=_TRAILER, mode=0)))
    archive = b"".join(parts)
    return archive + bytes(-len(archive) % 512)


def _record(inode: int, entry: CpioEntry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
    # namesize, check: eight hexadecimal digits each.
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
    header = _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    return _padded(header) + _padded(entry.content)


def _padded(block: bytes) -> bytes:
    return block + bytes(-len(block) % 4)
