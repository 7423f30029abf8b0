"""Open paths below a directory without ever leaving it.

Every component is opened relative to its parent's descriptor and never through a symbolic link, so
a directory that is swapped for a link while we walk is an error and not a way out. Works the same
for trees deeper than PATH_MAX, and on every POSIX system.
Source: open(2), O_NOFOLLOW and openat.
"""

import errno
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

if sys.platform == "win32":
    # Opening relative to a descriptor does not exist there: every use raises NotImplementedError.
    HOLD_FLAGS = DIRECTORY_FLAGS = FILE_FLAGS = os.O_RDONLY
else:
    DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    HOLD_FLAGS = getattr(os, "O_PATH", 0) | DIRECTORY_FLAGS
    FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    # O_NONBLOCK: a FIFO that took a file's place must not hang the reader.


class Descent:
    """Open directories along one path at a time; cheap when paths come in tree order.

    Holds one descriptor per level. Not for use from several threads.
    """

    def __init__(self, root_fd: int) -> None:
        """Begin at the directory behind `root_fd` (may be O_PATH); it stays the caller's."""
        self._fds = [os.open(".", DIRECTORY_FLAGS, dir_fd=root_fd)]
        self._names: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor."""
        while self._fds:
            os.close(self._fds.pop())

    def directory(self, path: str) -> int:
        """Return a descriptor of the directory `path`, valid until the next call.

        Raises:
            OSError: a component is missing, or is not a directory (any more).
        """
        wanted = path.split("/") if path else []
        common = 0
        for held, name in zip(self._names, wanted, strict=False):
            if held != name:
                break
            common += 1
        while len(self._names) > common:
            self._names.pop()
            os.close(self._fds.pop())
        for name in wanted[common:]:
            self._fds.append(os.open(name, DIRECTORY_FLAGS, dir_fd=self._fds[-1]))
            self._names.append(name)
        return self._fds[-1]

    def status(self, path: str) -> os.stat_result | None:
        """Return the state of an entry itself (links are not followed), or None if it is gone."""
        parent, _, name = path.rpartition("/")
        try:
            return os.stat(name, dir_fd=self.directory(parent), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if _is_link_in_the_way(error):
                return None
            raise

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, or nothing when there is no such directory."""
        try:
            return os.listdir(self.directory(path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if _is_link_in_the_way(error):
                return []
            raise

    @contextmanager
    def file(self, path: str) -> Generator[int]:
        """Open a file for reading.

        Raises:
            OSError: it is missing, a link, or below something that is not a directory.
        """
        parent, _, name = path.rpartition("/")
        fd = os.open(name, FILE_FLAGS, dir_fd=self.directory(parent))
        try:
            yield fd
        finally:
            os.close(fd)


def read_all(fd: int, size: int) -> bytes:
    """Read a file of about `size` bytes to its end; one call reads it whole where nothing moved."""
    content = os.read(fd, size + 1)
    if len(content) == size:
        return content
    parts = [content]
    while content:
        content = os.read(fd, 1 << 20)
        parts.append(content)
    return b"".join(parts)


def _is_link_in_the_way(error: OSError) -> bool:
    return error.errno in {errno.ELOOP, errno.ENAMETOOLONG}
