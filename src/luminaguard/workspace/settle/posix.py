"""The real file operations of a commit, on POSIX systems (atomic exchange: Linux only)."""

import errno
import os
import sys

from luminaguard.workspace.settle import syscalls

assert sys.platform != "win32"  # noqa: S101 - makes the type checker skip this file there

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_LEFT_BEHIND = ("security.capability", "security.ima", "security.evm", "trusted.overlay.")
"""Attributes that speak of the old bytes, or of an overlay, and so may not pass to new ones."""

_LABELS = ("security.", "trusted.")
"""Attributes that a caller may be unable to set, and that the system sets by itself then."""


class PosixOps:
    """File operations on the real disk; implements `FileOps`."""

    def open_dir(self, dir_fd: int, path: str) -> int:
        """Open a directory below `dir_fd`, through no link and into no other mount."""
        if path == "":
            return os.open(".", _DIRECTORY, dir_fd=dir_fd)
        try:
            return syscalls.open_beneath(dir_fd, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
        return _walk(dir_fd, path)

    def open_read(self, dir_fd: int, name: str) -> int:
        """Open a file for reading."""
        return os.open(name, os.O_RDONLY | _FILE, dir_fd=dir_fd)

    def open_handle(self, dir_fd: int, name: str) -> int:
        """Open a name for its status and mode only."""
        if sys.platform == "linux":
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        return self.open_read(dir_fd, name)

    def create(self, dir_fd: int, name: str) -> int:
        """Make a new file and open it for writing."""
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=dir_fd)

    def open_write(self, dir_fd: int, name: str) -> int:
        """Open an existing file for writing."""
        return os.open(name, os.O_WRONLY | _FILE, dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def stat(self, dir_fd: int, name: str) -> os.stat_result:
        """Status of a name."""
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)

    def fstat(self, fd: int) -> os.stat_result:
        """Status of a descriptor."""
        return os.fstat(fd)

    def read(self, fd: int, count: int) -> bytes:
        """Read on."""
        return os.read(fd, count)

    def names(self, dir_fd: int) -> list[str]:
        """Entries of a directory."""
        return os.listdir(dir_fd)

    def readlink(self, dir_fd: int, name: str) -> str:
        """Where a link points."""
        return os.readlink(name, dir_fd=dir_fd)

    def write(self, fd: int, offset: int, content: bytes) -> None:
        """Write all bytes at an offset."""
        rest = memoryview(content)
        while rest:
            written = os.pwrite(fd, rest, offset)
            offset += written
            rest = rest[written:]

    def truncate(self, fd: int, size: int) -> None:
        """Set a file's size."""
        os.ftruncate(fd, size)

    def mkdir(self, dir_fd: int, name: str) -> None:
        """Make a directory."""
        os.mkdir(name, 0o700, dir_fd=dir_fd)

    def symlink(self, target: str, dir_fd: int, name: str) -> None:
        """Make a symbolic link."""
        os.symlink(target, name, dir_fd=dir_fd)

    def exchange(self, one_fd: int, one: str, other_fd: int, other: str) -> None:
        """Swap two names."""
        syscalls.rename(one_fd, one, other_fd, other, flags=syscalls.RENAME_EXCHANGE)

    def move(self, from_fd: int, from_name: str, to_fd: int, to_name: str) -> None:
        """Rename to a free name."""
        syscalls.rename(from_fd, from_name, to_fd, to_name, flags=syscalls.RENAME_NOREPLACE)

    def unlink(self, dir_fd: int, name: str) -> None:
        """Remove a file or a link."""
        os.unlink(name, dir_fd=dir_fd)

    def rmdir(self, dir_fd: int, name: str) -> None:
        """Remove an empty directory."""
        os.rmdir(name, dir_fd=dir_fd)

    def chmod(self, fd: int, mode: int) -> None:
        """Set permission bits.

        fchmod(2) refuses descriptors opened with O_PATH; their entry in /proc leads to the same
        inode and nowhere else.
        """
        if sys.platform == "linux":
            os.chmod(f"/proc/self/fd/{fd}", mode)
        else:
            os.fchmod(fd, mode)

    def chown(self, dir_fd: int, name: str, uid: int, gid: int) -> None:
        """Set owner and group of a name."""
        os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)

    def copy_attributes(self, from_fd: int, to_fd: int) -> None:
        """Copy extended attributes, access control lists among them."""
        if sys.platform != "linux":
            return
        try:
            names = os.listxattr(from_fd)
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                return
            raise
        for name in names:
            if name.startswith(_LEFT_BEHIND):
                continue
            try:
                os.setxattr(to_fd, name, os.getxattr(from_fd, name))
            except OSError as error:
                if not name.startswith(_LABELS) or error.errno not in {
                    errno.EPERM,
                    errno.EACCES,
                    errno.ENOTSUP,
                }:
                    raise

    def set_mtime(self, fd: int, mtime_ns: int) -> None:
        """Set the time of the last modification."""
        os.utime(fd, ns=(os.fstat(fd).st_atime_ns, mtime_ns))

    def start_writeback(self, fd: int) -> None:
        """Begin writing a file out."""
        syscalls.start_writeback(fd)

    def fsync(self, fd: int) -> None:
        """Make a file or directory durable."""
        os.fsync(fd)


def _walk(dir_fd: int, path: str) -> int:
    """Open a directory component by component, where the kernel has no openat2.

    Each component is opened in the one before it, so a link swapped in is refused at its place; a
    bind mount of the same file system is the one thing that openat2 sees and this does not.
    """
    at = os.open(".", _DIRECTORY, dir_fd=dir_fd)
    try:
        device = os.fstat(at).st_dev
        for part in path.split("/"):
            if part in {"", ".", ".."}:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
            below = os.open(part, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
            if os.fstat(at).st_dev != device:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    except BaseException:
        os.close(at)
        raise
    return at
