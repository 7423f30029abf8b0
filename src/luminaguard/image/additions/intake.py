"""Taking in what a build machine made: the word of a hostile guest until each name is checked.

The machine has unpacked what strangers wrote. Its answer may add files below `/usr/local`, and
nothing else: no other place, no second word on a name, no device, no link that leads out of there.
"""

import os
import stat
from dataclasses import dataclass

from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSymlink,
)
from luminaguard.errors import ImageError
from luminaguard.image import space
from luminaguard.image.tree import Tree

OUT = "out"
_HOME = "usr/local"
_MAX_PATH_BYTES = 1024
_HINT = "leave out what was added last, or report it: a package should not be able to do this"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """How much a build machine may add to an image."""

    files: int = 300_000
    size_bytes: int = 4 << 30


class Intake:
    """Feed it every record of a harvest, then `finish`. Blocking: it writes the files."""

    def __init__(self, tree: Tree, limits: IntakeLimits | None = None) -> None:
        """Add to `tree`, within limits."""
        self._tree = tree
        self._limits = limits or IntakeLimits()
        self._count = 0
        self._size = 0
        self._open: UpperFile | None = None
        self._offset = 0
        self._fd = -1

    def add(self, record: UpperRecord) -> None:
        """Take in the next record.

        Raises:
            ImageError: it has no place in an image, breaks the order, or exceeds a limit.
        """
        if isinstance(record, FileBytes):
            self._bytes(record)
            return
        self._close()
        path = _checked(record.path)
        if path is None:
            if not isinstance(record, UpperDirectory):
                raise _refused(record.path, "it lies outside of the image")
            return
        self._counted()
        match record:
            case UpperDirectory():
                self._directory(path, record)
            case UpperFile():
                self._file(path, record)
            case UpperSymlink():
                self._link(path, record)
            case _:
                raise _refused(record.path, "it is neither file, directory nor link")

    def finish(self) -> None:
        """End the last file; call it once, whether or not all went well."""
        self._close()

    def _counted(self) -> None:
        self._count += 1
        if self._count > self._limits.files:
            raise ImageError(
                f"the added packages hold more than {self._limits.files} files",
                hint="leave some of them out",
            )

    def _directory(self, path: str, record: UpperDirectory) -> None:
        if record.redirect is not None:
            raise _refused(record.path, "it was moved there")
        if path in self._tree and not self._tree.is_directory(path):
            raise _refused(record.path, "there is something else already")
        self._tree.directory(path)

    def _file(self, path: str, record: UpperFile) -> None:
        if path in self._tree:
            raise _refused(record.path, "there is something already")
        self._size += record.size
        if record.size < 0 or self._size > self._limits.size_bytes:
            raise ImageError(
                f"the added packages unpack to more than {self._limits.size_bytes >> 20} MiB",
                hint="ask for smaller variants of them, or leave some out",
            )
        place = self._tree.place(path, 0o755 if record.mode & stat.S_IXUSR else 0o644)
        with space.explained():
            self._fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._open, self._offset = record, 0

    def _bytes(self, record: FileBytes) -> None:
        if self._open is None:
            raise ImageError("the build machine sent bytes of no file", hint=_HINT)
        end = record.offset + len(record.content)
        if record.offset < self._offset or end > self._open.size:
            raise _refused(self._open.path, "its bytes do not fit its size")
        with space.explained():
            os.lseek(self._fd, record.offset, os.SEEK_SET)
            rest = memoryview(record.content)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        self._offset = end

    def _link(self, path: str, record: UpperSymlink) -> None:
        target = _text(record.target)
        aim = os.path.normpath(os.path.join("/", os.path.dirname(path), target))
        if path in self._tree:
            raise _refused(record.path, "there is something already")
        if target.startswith("/") or not aim.startswith(f"/{_HOME}/"):
            raise _refused(record.path, "it is a link that leads elsewhere")
        self._tree.symlink(path, target)

    def _close(self) -> None:
        if self._open is not None:
            size, self._open = self._open.size, None
            with space.explained():
                os.ftruncate(self._fd, size)  # a sparse file may end with a hole
            os.close(self._fd)
            self._fd = -1


def _checked(raw: bytes) -> str | None:
    """Return the path in the image; None for what lies above `usr/local` and for the disk's root.

    Raises:
        ImageError: it cannot be a name in an image, or is outside of `usr/local`.
    """
    path = _text(raw)
    above = ("", OUT, f"{OUT}/usr", f"{OUT}/{_HOME}")
    if path in above:
        return None
    if not path.startswith(f"{OUT}/{_HOME}/") or len(raw) > _MAX_PATH_BYTES:
        raise _refused(raw, "it lies outside of the image")
    if {"", ".", ".."} & set(path.split("/")):
        raise _refused(raw, "it is no normal path")
    return path.removeprefix(f"{OUT}/")


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise _refused(raw, "it is not UTF-8") from None
    if not text.isprintable():
        raise _refused(raw, "it holds control characters")
    return text


def _refused(path: bytes, why: str) -> ImageError:
    shown = ascii(path[:200].decode(errors="replace"))
    return ImageError(f"the build machine made {shown}: {why}", hint=_HINT)
