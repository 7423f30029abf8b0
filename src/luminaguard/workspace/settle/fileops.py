"""The file operations that a commit is made of, as a port.

Every step of a commit and of a recovery goes through here, so that tests can stop at each of them,
act between two of them, and record them to replay a power loss.

All names are relative to a directory's descriptor and name one component, except for `open_dir`.
"""

import os
import sys
from typing import Protocol

from luminaguard.errors import WorkspaceError

if sys.platform != "win32":
    from luminaguard.workspace.settle.posix import PosixOps


class FileOps(Protocol):
    """What a commit does to a disk. Everything raises OSError when it cannot be done."""

    def open_dir(self, dir_fd: int, path: str) -> int:
        """Open a directory below `dir_fd`; "" is that directory itself.

        Never leaves it, never crosses a mount, and never follows a symbolic link.
        """
        ...

    def open_read(self, dir_fd: int, name: str) -> int:
        """Open a file for reading; a symbolic link is refused (ELOOP), a FIFO does not block."""
        ...

    def open_handle(self, dir_fd: int, name: str) -> int:
        """Open whatever the name is, for `fstat` and `chmod` only; needs no right to read it."""
        ...

    def create(self, dir_fd: int, name: str) -> int:
        """Make a new file (0600) and open it for writing; EEXIST where the name is taken."""
        ...

    def open_write(self, dir_fd: int, name: str) -> int:
        """Open an existing file for writing; a symbolic link is refused."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def stat(self, dir_fd: int, name: str) -> os.stat_result:
        """Status of the name itself, links not followed."""
        ...

    def fstat(self, fd: int) -> os.stat_result:
        """Status of an open descriptor."""
        ...

    def read(self, fd: int, count: int) -> bytes:
        """Read up to `count` bytes on from the last read; b"" at the end."""
        ...

    def names(self, dir_fd: int) -> list[str]:
        """Entries of a directory, without "." and "..", in any order."""
        ...

    def readlink(self, dir_fd: int, name: str) -> str:
        """Where a symbolic link points."""
        ...

    def write(self, fd: int, offset: int, content: bytes) -> None:
        """Write all of `content` at `offset`."""
        ...

    def truncate(self, fd: int, size: int) -> None:
        """Set a file's size."""
        ...

    def mkdir(self, dir_fd: int, name: str) -> None:
        """Make a directory (0700)."""
        ...

    def symlink(self, target: str, dir_fd: int, name: str) -> None:
        """Make a symbolic link."""
        ...

    def exchange(self, one_fd: int, one: str, other_fd: int, other: str) -> None:
        """Let two existing names swap what they name, in one atomic step."""
        ...

    def move(self, from_fd: int, from_name: str, to_fd: int, to_name: str) -> None:
        """Rename in one atomic step; EEXIST where the new name is taken."""
        ...

    def unlink(self, dir_fd: int, name: str) -> None:
        """Remove a file or a link."""
        ...

    def rmdir(self, dir_fd: int, name: str) -> None:
        """Remove an empty directory."""
        ...

    def chmod(self, fd: int, mode: int) -> None:
        """Set the permission bits of an open descriptor, one of `open_handle` included."""
        ...

    def chown(self, dir_fd: int, name: str, uid: int, gid: int) -> None:
        """Set owner and group of the name itself, links not followed."""
        ...

    def copy_attributes(self, from_fd: int, to_fd: int) -> None:
        """Copy extended attributes and the access control list; file capabilities stay behind."""
        ...

    def set_mtime(self, fd: int, mtime_ns: int) -> None:
        """Set the time of the last modification, leaving that of the last access."""
        ...

    def start_writeback(self, fd: int) -> None:
        """Let the kernel begin to write a file out, so that the later `fsync` is short."""
        ...

    def fsync(self, fd: int) -> None:
        """Return when the file's bytes, or the directory's entries, would survive a power loss."""
        ...


def real_ops() -> FileOps:
    """Return the operations on the real disk.

    Raises:
        WorkspaceError: this platform cannot commit atomically yet.
    """
    if sys.platform == "win32":
        raise WorkspaceError(
            "committing to a workspace is not supported on Windows",
            hint="run LuminaGuard inside WSL 2, with the workspace on its own file system",
        )
    return PosixOps()
