"""A workspace as a copy: where the kernel lets no user namespace mount a usable overlay.

What has changed is found by comparing the copy with what it was made of, byte by byte, and told as
an overlay's upper layer would tell it. Whoever could change either is dead by then.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from luminaguard_guest.faults import GuestFault
from luminaguard_guest.overlay import SPECIALS, content
from luminaguard_guest.wire import (
    CHUNK_BYTES,
    Message,
    UpperDirectory,
    UpperFile,
    UpperSpecial,
    UpperSymlink,
    Whiteout,
)

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


_PAGE_BYTES = 4096


def size(tree: bytes) -> int:
    """Return how many bytes of memory a copy takes: whole pages, one at least for each name."""
    total = 0
    waiting = [tree]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                about = entry.stat(follow_symlinks=False)
                pages = about.st_size // _PAGE_BYTES + 1 if stat.S_ISREG(about.st_mode) else 1
                total += pages * _PAGE_BYTES
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return total


def copy(source: bytes, target: bytes) -> None:
    """Copy the contents of a directory into another, with owners, modes and times.

    Hard links become files of their own, as in an overlay.
    """
    waiting = [(source, target)]
    finished: list[tuple[bytes, os.stat_result]] = []
    while waiting:
        above, into = waiting.pop()
        finished.append((into, os.lstat(above)))
        with os.scandir(above) as entries:
            for entry in entries:
                place = into + b"/" + entry.name
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(place)
                    waiting.append((entry.path, place))
                elif entry.is_symlink():
                    os.symlink(os.readlink(entry.path), place)
                    _dress(place, entry.stat(follow_symlinks=False))
                elif entry.is_file(follow_symlinks=False):
                    _copy_file(entry.path, place)
                    _dress(place, entry.stat(follow_symlinks=False))
    for place, status in reversed(finished):
        _dress(place, status)


def _copy_file(source: bytes, target: bytes) -> None:
    with open(source, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
        while os.sendfile(new.fileno(), old.fileno(), None, CHUNK_BYTES):
            pass


def _dress(place: bytes, status: os.stat_result) -> None:
    os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(place, stat.S_IMODE(status.st_mode))
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(place, ns=times, follow_symlinks=False)


@dataclass(slots=True, kw_only=True)
class _Level:
    """One directory being compared."""

    path: bytes
    old: bytes | None
    """Where it was copied from; None for one that was made since."""
    new: bytes
    told: bool
    """Whether the host knows of it."""
    names: list[bytes] = field(default_factory=list[bytes])
    gone: list[bytes] = field(default_factory=list[bytes])


def changes(old: str, new: str, skip: tuple[bytes, ...] = ()) -> Iterator[Message]:
    """Yield how `new` differs from `old`, each directory before its contents.

    `skip`: directories whose files are listed without their bytes.

    Raises:
        GuestFault: the trees cannot be read.
    """
    skipped = tuple(path + b"/" for path in skip if path)
    levels = [_Level(path=b"", old=os.fsencode(old), new=os.fsencode(new), told=False)]
    try:
        _list(levels[0])
        yield from _tell(levels)
        while levels:
            level = levels[-1]
            if level.names:
                yield from _entry(levels, level.names.pop(), skipped)
            elif level.gone:
                yield from _tell(levels)
                yield Whiteout(_joined(level.path, level.gone.pop()))
            else:
                levels.pop()
    except OSError as error:
        raise GuestFault(f"the changed files cannot be read: {error.strerror}") from error


def _list(level: _Level) -> None:
    level.names = os.listdir(level.new)
    if level.old is not None:
        level.gone = list(set(os.listdir(level.old)) - set(level.names))


def _tell(levels: list[_Level]) -> Iterator[Message]:
    """Tell of the directories on the way that the host does not know yet."""
    for level in levels:
        if not level.told:
            level.told = True
            mode = stat.S_IMODE(os.lstat(level.new).st_mode)
            yield UpperDirectory(level.path, mode, False, None)  # noqa: FBT003 - as the wire has it


def _entry(levels: list[_Level], name: bytes, skipped: tuple[bytes, ...]) -> Iterator[Message]:
    level = levels[-1]
    path, new = _joined(level.path, name), level.new + b"/" + name
    old = None if level.old is None else level.old + b"/" + name
    before, now = None if old is None else _status(old), os.lstat(new)
    kind = stat.S_IFMT(now.st_mode)
    if kind == stat.S_IFDIR:
        yield from _directory(levels, _Level(path=path, old=old, new=new, told=False), before, now)
    elif old is None or before is None or not _alike(old, before, new, now):
        yield from _tell(levels)
        yield from _leaf(path, new, now, bare=path.startswith(skipped))


def _directory(
    levels: list[_Level], level: _Level, before: os.stat_result | None, now: os.stat_result
) -> Iterator[Message]:
    same_kind = before is not None and stat.S_ISDIR(before.st_mode)
    if not same_kind:
        level.old = None
        level.told = True
        yield from _tell(levels)
        yield UpperDirectory(level.path, stat.S_IMODE(now.st_mode), before is not None, None)
    _list(level)
    levels.append(level)
    if before is not None and same_kind and before.st_mode != now.st_mode:
        yield from _tell(levels)


def _leaf(path: bytes, place: bytes, status: os.stat_result, *, bare: bool) -> Iterator[Message]:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        yield UpperSymlink(path, os.readlink(place))
    elif kind == stat.S_IFREG:
        yield UpperFile(path, stat.S_IMODE(status.st_mode), status.st_size, status.st_mtime_ns)
        if not bare:
            descriptor = os.open(place, _OPEN)
            try:
                yield from content(descriptor, status)
            finally:
                os.close(descriptor)
    else:
        yield UpperSpecial(path, SPECIALS[kind])


def _alike(old: bytes, before: os.stat_result, new: bytes, now: os.stat_result) -> bool:
    if before.st_mode != now.st_mode:
        return False
    if stat.S_ISLNK(now.st_mode):
        return os.readlink(old) == os.readlink(new)
    return stat.S_ISREG(now.st_mode) and before.st_size == now.st_size and _same_bytes(old, new)


def _same_bytes(old: bytes, new: bytes) -> bool:
    with open(old, "rb", buffering=0) as one, open(new, "rb", buffering=0) as other:
        while True:
            piece = one.read(CHUNK_BYTES)
            if piece != other.read(CHUNK_BYTES):
                return False
            if not piece:
                return True


def _status(place: bytes) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except FileNotFoundError:
        return None


def _joined(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
