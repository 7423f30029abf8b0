"""Harvest: what an overlay's upper layer says has changed, as a stream of records.

Walks by descriptors, one directory at a time: memory does not grow with the tree, and no name is
resolved twice. Whoever could change the tree meanwhile is dead by then, so nothing here needs to
guard against it; the host believes none of it anyway.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENODATA, ENXIO
from typing import Protocol

from luminaguard_guest.faults import GuestFault
from luminaguard_guest.wire import (
    CHUNK_BYTES,
    FileBytes,
    Message,
    UpperDirectory,
    UpperFile,
    UpperSpecial,
    UpperSymlink,
    Whiteout,
)

# Source: Linux Documentation/filesystems/overlayfs.rst
TRUSTED, USER = "trusted.overlay.", "user.overlay."
"""Whose attributes an overlay keeps its marks in: the first needs rights in the whole system, the
second is what is left to a user namespace. Each is read only from an overlay that keeps it from
its users: in the other one, commands could set it themselves."""

_DEPTH = 4000
"""Deepest tree that is reported; each level holds two descriptors while it is walked."""

SPECIALS = {
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


class _Names(Protocol):
    """What `os.scandir` returns."""

    def __iter__(self) -> Iterator[os.DirEntry[str]]: ...

    def __next__(self) -> os.DirEntry[str]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Level:
    """One directory being walked."""

    descriptor: int
    path: bytes
    names: _Names
    marks: str
    """Beginning of the names of the overlay's attributes."""
    holds_whiteouts: bool
    """Deletions in it may be marked by attributes of empty files."""

    def close(self) -> None:
        """Close both descriptors: reading the names has one of its own."""
        self.names.close()
        os.close(self.descriptor)


def harvest(upper: str, skip: tuple[bytes, ...] = (), marks: str = TRUSTED) -> Iterator[Message]:
    """Yield the records of an upper layer: each directory before its contents.

    `skip`: directories whose files are listed without their bytes.
    `marks`: `TRUSTED`, or `USER` for an overlay mounted with `userxattr`.

    Raises:
        GuestFault: the tree cannot be reported whole.
    """
    skipped = tuple(path + b"/" for path in skip if path)
    levels: list[_Level] = []
    try:
        root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        yield _enter(levels, root, b"", marks)
        while levels:
            entry = next(levels[-1].names, None)
            if entry is None:
                levels.pop().close()
                continue
            yield from _entry(levels, entry, skipped)
    except OSError as error:
        raise GuestFault(f"the changed files cannot be read: {error.strerror}") from error
    finally:
        for level in levels:
            level.close()


def _entry(
    levels: list[_Level], entry: os.DirEntry[str], skipped: tuple[bytes, ...]
) -> Iterator[Message]:
    level = levels[-1]
    name = os.fsencode(entry.name)
    path = level.path + b"/" + name if level.path else name
    status = entry.stat(follow_symlinks=False)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        if len(levels) >= _DEPTH:
            raise GuestFault(f"directories lie more than {_DEPTH} deep")
        yield _enter(levels, _open(level, name, os.O_DIRECTORY), path, level.marks)
    elif kind == stat.S_IFREG:
        yield from _file(level, name, path, status, bare=path.startswith(skipped))
    elif kind == stat.S_IFLNK:
        yield UpperSymlink(path, os.readlink(name, dir_fd=level.descriptor))
    elif kind == stat.S_IFCHR and status.st_rdev == 0:
        yield Whiteout(path)
    else:
        yield UpperSpecial(path, SPECIALS[kind])


def _open(level: _Level, name: bytes, flags: int) -> int:
    safe = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
    return os.open(name, flags | safe, dir_fd=level.descriptor)


def _enter(levels: list[_Level], descriptor: int, path: bytes, marks: str) -> UpperDirectory:
    """Begin to walk a directory, whose descriptor is taken over; return its record."""
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        opaque = _attribute(descriptor, f"{marks}opaque")
        redirect = _attribute(descriptor, f"{marks}redirect")
        names = os.scandir(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    levels.append(_Level(descriptor, path, names, marks, opaque == b"x"))
    return UpperDirectory(path, mode, opaque == b"y", redirect)


def _attribute(descriptor: int, name: str) -> bytes | None:
    try:
        return os.getxattr(descriptor, name)
    except OSError as error:
        if error.errno == ENODATA:
            return None
        raise


def _file(
    level: _Level, name: bytes, path: bytes, status: os.stat_result, *, bare: bool
) -> Iterator[Message]:
    size = status.st_size
    mode = stat.S_IMODE(status.st_mode)
    record = UpperFile(path, mode, size, status.st_mtime_ns)
    if bare or (size == 0 and not level.holds_whiteouts):
        yield record
        return
    descriptor = _open(level, name, 0)
    try:
        if size == 0 and _attribute(descriptor, f"{level.marks}whiteout") is not None:
            yield Whiteout(path)
            return
        yield record
        yield from content(descriptor, status)
    finally:
        os.close(descriptor)


def content(descriptor: int, status: os.stat_result) -> Iterator[Message]:
    """Yield the bytes of a file, without its holes."""
    size = status.st_size
    if size <= CHUNK_BYTES and status.st_blocks * 512 >= size:
        yield from _bytes(descriptor, 0, size)  # no holes: not worth asking for them
        return
    for start, end in _extents(descriptor, size):
        yield from _bytes(descriptor, start, end)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what is not a hole."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:
                return
            raise
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        yield start, end


def _bytes(descriptor: int, start: int, end: int) -> Iterator[Message]:
    while start < end:
        content = os.pread(descriptor, min(CHUNK_BYTES, end - start), start)
        if not content:
            raise GuestFault("a file became shorter while it was read")
        yield FileBytes(start, content)
        start += len(content)
