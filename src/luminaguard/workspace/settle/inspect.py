"""What a path is right now: read, hashed, and compared with what it should be."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from os import stat_result
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG

from luminaguard.domain.changeset import Entry, EntryType
from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.settle.fileops import FileOps

BLOCK_BYTES = 1 << 20

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""Nothing is there, or what should be a directory is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stands at a name."""

    status: stat_result
    entry: Entry | None
    """None for what no changeset can hold: a special file, or a file that moves while read."""

    def identity(self) -> Identity:
        """Return which file it is, and in which state."""
        return Identity.of(self.status)


@contextmanager
def opened(ops: FileOps, fd: int) -> Generator[int]:
    """Close a descriptor at the end."""
    try:
        yield fd
    finally:
        ops.close(fd)


def look(ops: FileOps, dir_fd: int, name: str) -> Found | None:
    """Return what stands at `name` in an open directory, content hashed; None where nothing does.

    Raises:
        OSError: it cannot be read.
    """
    try:
        status = ops.stat(dir_fd, name)
        mode = S_IMODE(status.st_mode) & 0o777
        if S_ISDIR(status.st_mode):
            return Found(status=status, entry=Entry(type=EntryType.DIRECTORY, mode=mode))
        if S_ISLNK(status.st_mode):
            target = ops.readlink(dir_fd, name)
            return Found(
                status=status, entry=Entry(type=EntryType.SYMLINK, mode=0o777, target=target)
            )
        if not S_ISREG(status.st_mode):
            return Found(status=status, entry=None)
        return _look_into(ops, dir_fd, name)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def _look_into(ops: FileOps, dir_fd: int, name: str) -> Found:
    with opened(ops, ops.open_read(dir_fd, name)) as fd:
        status = ops.fstat(fd)
        if not S_ISREG(status.st_mode):
            return Found(status=status, entry=None)
        digest = sha256()
        while block := ops.read(fd, BLOCK_BYTES):
            digest.update(block)
        if Identity.of(ops.fstat(fd)) != Identity.of(status):
            return Found(status=status, entry=None)
    return Found(
        status=status,
        entry=Entry(
            type=EntryType.FILE,
            mode=S_IMODE(status.st_mode) & 0o777,
            size=status.st_size,
            sha256=digest.hexdigest(),
        ),
    )


def is_as(expected: Entry | None, found: Found | None) -> bool:
    """Tell whether what was found is exactly `expected`; the modes of links do not count."""
    if expected is None or found is None:
        return expected is None and found is None
    seen = found.entry
    if seen is None or seen.type is not expected.type:
        return False
    if seen.type is EntryType.SYMLINK:
        return seen.target == expected.target
    return (seen.mode, seen.size, seen.sha256) == (expected.mode, expected.size, expected.sha256)


def same_but_ctime(one: Identity, other: Identity) -> bool:
    """Tell whether it is the same file in the same state, renames and mode changes aside.

    Both change the time of the last status change, and nothing else that an identity holds.
    Source: rename(2), chmod(2).
    """
    return (one.dev, one.ino, one.size, one.mtime_ns) == (
        other.dev,
        other.ino,
        other.size,
        other.mtime_ns,
    )
