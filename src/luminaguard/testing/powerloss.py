"""What a disk may hold after a power loss: a model, and the log that it is played from.

The model is pessimistic, and honest about what it takes for granted:

- Nothing is on the disk for certain but what an fsync covered: of a file, its bytes and mode; of a
  directory, the names made, removed and renamed in it. An fsync of a file does not save its name.
- What no fsync covered may be there or not, each operation by itself and in no order, except that
  a name's later operations cannot be there without its earlier ones. So a name may be there
  without its bytes, or a later write without an earlier one.
- One rename or exchange is on the disk as a whole or not at all, across directories too. Journaling
  file systems (ext4, XFS, btrfs) promise that; without it no program could replace a file safely.
- The disk keeps what it confirmed, and does not invent bytes.
"""

import os
import random
import stat
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from luminaguard.testing.disk import Watch, watched
from luminaguard.workspace.settle.fileops import FileOps, real_ops


@dataclass(slots=True)
class Inode:
    """One object of the model's disk."""

    kind: str
    """"file", "directory" or "symlink"."""
    mode: int = 0
    content: bytes = b""
    target: str = ""
    names: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Logged:
    """One operation, in terms of the model: `ids` are inodes, `args` the rest."""

    name: str
    ids: tuple[int, ...]
    args: tuple[object, ...] = ()

    @property
    def is_naming(self) -> bool:
        """Whether it changes directories, not a file itself."""
        return self.name in {"link", "unlink", "rmdir", "move", "exchange"}

    @property
    def keys(self) -> frozenset[tuple[int, object]]:
        """The names that it changes."""
        if self.name in {"move", "exchange"}:
            return frozenset({(self.ids[0], self.args[0]), (self.ids[1], self.args[1])})
        return frozenset({(self.ids[0], self.args[0])}) if self.is_naming else frozenset()


class Disk:
    """Inodes by number; `roots` are the directories that are looked at after the loss."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Take over what is in `roots`, as if all of it were durable."""
        self.inodes: dict[int, Inode] = {}
        self.numbers: dict[tuple[int, int], int] = {}
        self.roots = [self._take(root) for root in roots]

    def new(self, inode: Inode, status: os.stat_result) -> int:
        """Give an object a number that is never used again; the kernel's may be."""
        number = len(self.inodes)
        self.inodes[number] = inode
        self.numbers[status.st_dev, status.st_ino] = number
        return number

    def _take(self, place: Path) -> int:
        status = place.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if place.is_symlink():
            return self.new(Inode("symlink", mode, target=str(place.readlink())), status)
        if not place.is_dir():
            return self.new(Inode("file", mode, place.read_bytes()), status)
        names = {child.name: self._take(child) for child in place.iterdir()}
        return self.new(Inode("directory", mode, names=names), status)

    def write_out(self, root: int, place: Path) -> None:
        """Make what a root holds for real, in an existing directory."""
        for name, number in self.inodes[root].names.items():
            inode, path = self.inodes[number], place / name
            if inode.kind == "symlink":
                path.symlink_to(inode.target)
                continue
            if inode.kind == "directory":
                path.mkdir()
                self.write_out(number, path)
            else:
                path.write_bytes(inode.content)
            path.chmod(inode.mode)


class Recording:
    """Operations on the real disk, and the log of what they did; an fsync is only logged."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.before = Disk(roots)
        """The disk before the first operation; it never changes."""
        self._disk = deepcopy(self.before)
        self.log: list[Logged] = []
        self._real = real_ops()

    def ops(self, watch: Watch | None = None) -> FileOps:
        """Return the operations to record; `watch` sees them too, and first."""
        recorded = cast("FileOps", _Recorded(self, self._real))
        return watched(watch, recorded) if watch else recorded

    def number(self, fd: int) -> int:
        """Return the model's number of an open file."""
        status = os.fstat(fd)
        return self._disk.numbers[status.st_dev, status.st_ino]

    def made(self, dir_fd: int, name: str, inode: Inode) -> None:
        """Log that something new has a name."""
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        number = self._disk.new(inode, status)
        self.before.inodes.setdefault(number, deepcopy(inode))
        self.log.append(Logged("link", (self.number(dir_fd), number), (name,)))


class _Recorded:
    """Calls the real operation and logs it."""

    def __init__(self, recording: Recording, real: FileOps) -> None:
        self._to = recording
        self._real = real

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def create(self, dir_fd: int, name: str) -> int:
        fd = self._real.create(dir_fd, name)
        self._to.made(dir_fd, name, Inode("file", 0o600))
        return fd

    def mkdir(self, dir_fd: int, name: str) -> None:
        self._real.mkdir(dir_fd, name)
        self._to.made(dir_fd, name, Inode("directory", 0o700))

    def symlink(self, target: str, dir_fd: int, name: str) -> None:
        self._real.symlink(target, dir_fd, name)
        self._to.made(dir_fd, name, Inode("symlink", target=target))

    def write(self, fd: int, offset: int, content: bytes) -> None:
        self._real.write(fd, offset, content)
        self._to.log.append(Logged("write", (self._to.number(fd),), (offset, content)))

    def truncate(self, fd: int, size: int) -> None:
        self._real.truncate(fd, size)
        self._to.log.append(Logged("truncate", (self._to.number(fd),), (size,)))

    def chmod(self, fd: int, mode: int) -> None:
        self._real.chmod(fd, mode)
        self._to.log.append(Logged("chmod", (self._to.number(fd),), (mode,)))

    def fsync(self, fd: int) -> None:
        self._to.log.append(Logged("fsync", (self._to.number(fd),)))

    def exchange(self, one_fd: int, one: str, other_fd: int, other: str) -> None:
        self._real.exchange(one_fd, one, other_fd, other)
        ids = (self._to.number(one_fd), self._to.number(other_fd))
        self._to.log.append(Logged("exchange", ids, (one, other)))

    def move(self, from_fd: int, from_name: str, to_fd: int, to_name: str) -> None:
        self._real.move(from_fd, from_name, to_fd, to_name)
        ids = (self._to.number(from_fd), self._to.number(to_fd))
        self._to.log.append(Logged("move", ids, (from_name, to_name)))

    def unlink(self, dir_fd: int, name: str) -> None:
        self._real.unlink(dir_fd, name)
        self._to.log.append(Logged("unlink", (self._to.number(dir_fd),), (name,)))

    def rmdir(self, dir_fd: int, name: str) -> None:
        fd = self._real.open_dir(dir_fd, name)
        gone = self._to.number(fd)
        self._real.close(fd)
        self._real.rmdir(dir_fd, name)
        self._to.log.append(Logged("rmdir", (self._to.number(dir_fd), gone), (name,)))


def losses(recording: Recording, count: int, *, seed: int, chances: int) -> Iterator[Disk]:
    """Yield disks that a power loss after the first `count` operations may leave.

    The extremes (least, names only, bytes only, all, last writes cut in half), and `chances` random
    ones in between.
    """
    log = recording.log[:count]
    needs = _needs(log)
    sure = _durable(log, needs)
    every = set(range(len(log)))
    naming = {index for index in every if log[index].is_naming}
    yield _played(recording.before, log, sure)
    yield _played(recording.before, log, sure | naming)
    yield _played(recording.before, log, sure | (every - naming))
    yield _played(recording.before, log, every)
    yield _played(recording.before, log, every, torn=every - sure)
    dice = random.Random(f"{seed}:{count}")  # noqa: S311 - repeatable on purpose
    for _ in range(chances):
        there: set[int] = set()
        for index in range(len(log)):
            is_there = dice.random() < 0.5 and needs[index] <= there
            if index in sure or is_there:
                there.add(index)
        yield _played(recording.before, log, there)


def _needs(log: Sequence[Logged]) -> list[set[int]]:
    """Return, for each operation, the earlier ones that it cannot be on the disk without."""
    last: dict[tuple[int, object], int] = {}
    inside: dict[int, set[int]] = {}
    needs: list[set[int]] = []
    for index, done in enumerate(log):
        mine = {last[key] for key in done.keys if key in last}
        if done.name == "rmdir":
            mine |= inside.get(done.ids[1], set())
        for key in done.keys:
            last[key] = index
            inside.setdefault(key[0], set()).add(index)
        needs.append(mine)
    return needs


def _durable(log: Sequence[Logged], needs: list[set[int]]) -> set[int]:
    """Return the operations that an fsync made certain."""
    sure: set[int] = set()

    def settle(index: int) -> None:
        if index not in sure:
            sure.add(index)
            for earlier in needs[index]:
                settle(earlier)

    for index, done in enumerate(log):
        if done.name != "fsync":
            continue
        synced = done.ids[0]
        for earlier in range(index):
            known = log[earlier]
            dirs = {key[0] for key in known.keys}
            if synced in dirs or (not known.is_naming and known.ids[0] == synced):
                settle(earlier)
    return sure


def _played(
    before: Disk, log: Sequence[Logged], there: set[int], torn: set[int] | None = None
) -> Disk:
    """Return the disk after the operations that are `there`; of the `torn` writes, one half."""
    disk = deepcopy(before)
    for index in sorted(there):
        _play(disk, log[index], is_torn=index in (torn or set()))
    return disk


def _play(disk: Disk, done: Logged, *, is_torn: bool) -> None:
    first = disk.inodes[done.ids[0]]
    match done.name, done.args:
        case "link", (str(name),):
            first.names[name] = done.ids[1]
        case (("unlink" | "rmdir"), (str(name),)):
            del first.names[name]
        case "move", (str(name), str(to)):
            disk.inodes[done.ids[1]].names[to] = first.names.pop(name)
        case "exchange", (str(one), str(other)):
            second = disk.inodes[done.ids[1]]
            first.names[one], second.names[other] = second.names[other], first.names[one]
        case "write", (int(offset), bytes(content)):
            kept = content[: len(content) // 2] if is_torn else content
            end = offset + len(kept)
            padded = first.content.ljust(offset, b"\0")
            first.content = padded[:offset] + kept + padded[end:]
        case "truncate", (int(size),):
            first.content = first.content[:size].ljust(size, b"\0")
        case "chmod", (int(mode),):
            first.mode = mode
        case _:
            pass
