"""The directory that one machine shares with the host: all that its Firecracker can see of files.

Inside the jail there are two places: `/ro`, which Firecracker can only read, and `/rw`, which is
its own. Every access from outside goes through descriptors of both, taken before Firecracker
starts, and follows no link that a taken-over one might leave there.
"""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable, VmError
from luminaguard.vm.linux import DIRECTORY, NO_FOLLOW, data_extents, read_at, try_lock, write_at

if sys.platform == "linux":
    import fcntl

READ_ONLY, WRITABLE = "/ro", "/rw"
"""The two places as Firecracker sees them."""
_COPY_BYTES = 1024 * 1024
_LOCK = ".lock"
_BACKLOG = 4
_NO_WAIT = 0 if sys.platform == "win32" else os.O_NONBLOCK
_FICLONE = 0x40049409
"""Source: Linux, include/uapi/linux/fs.h, FICLONE."""


class Room:
    """One machine's two directories. Owns them: `close` removes everything."""

    def __init__(self, top: Path, root: Path, owner: int | None) -> None:
        """Make the directories.

        Args:
            top: A directory of this machine's own, which does not exist yet.
            root: Directory below `top` that becomes the root of the jail.
            owner: Uid that Firecracker will have; None when it is the caller's.
        """
        self._top = top
        self.root = root
        self._owner = owner
        top.mkdir(mode=0o700, parents=True)
        self._lock = os.open(top / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if not try_lock(self._lock):
                raise VmError("the machine's directory was taken for one that was left behind")
            root.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._ro = _directory(root / READ_ONLY.lstrip("/"), 0o755)
            self._rw = _directory(root / WRITABLE.lstrip("/"), 0o700)
            self._give(self._rw)
        except BaseException:
            os.close(self._lock)
            shutil.rmtree(top, ignore_errors=True)
            raise
        self._closed = False

    def close(self) -> None:
        """Remove everything. Idempotent."""
        if not self._closed:
            self._closed = True
            shutil.rmtree(self._top, ignore_errors=True)
            for fd in (self._ro, self._rw, self._lock):
                os.close(fd)

    def lend(self, source: int, name: str, *, writable: bool = False) -> str:
        """Let Firecracker open a file of ours; return the path that it sees. Blocking.

        The file itself gets a name in the room where the kernel allows that, which takes no time;
        otherwise it is copied, sharing blocks where the file system can.

        Args:
            source: Descriptor of the file; stays the caller's.
            name: Not taken yet.
            writable: Whether the guest may change it: then only a file that nobody else uses.

        Raises:
            VmError: there is no room for a copy.
        """
        place = self._rw if writable else self._ro
        try:
            if not _linked(source, name, place):
                self._copy(source, name, place)
            with _opened(name, place, os.O_RDWR if writable else os.O_RDONLY) as fd:
                if writable:
                    _set_mode(fd, 0o600)
                    self._give(fd)
                elif self._owner is not None:
                    _set_mode(fd, 0o444)  # only who can enter this room can reach it
        except OSError as problem:
            raise VmError(
                f"a file cannot be handed to the machine: {problem.strerror}",
                hint="free some space in LuminaGuard's cache directory, or move it by "
                "LUMINAGUARD_CACHE_DIR",
            ) from problem
        return self._inside(name, writable=writable)

    def placeholder(self, name: str, size_bytes: int, *, writable: bool) -> str:
        """Make an empty file that takes no space; return the path that Firecracker sees."""
        place = self._rw if writable else self._ro
        with _opened(name, place, os.O_CREAT | os.O_EXCL | os.O_RDWR) as fd:
            os.ftruncate(fd, size_bytes)
            _set_mode(fd, 0o600 if writable else 0o444)
            if writable:
                self._give(fd)
        return self._inside(name, writable=writable)

    def pipe(self, name: str) -> int:
        """Make a named pipe that Firecracker may write to; return our reading end."""
        if sys.platform == "win32":
            raise HypervisorUnavailable("Firecracker runs on Linux only")
        os.mkfifo(name, 0o600, dir_fd=self._rw)
        fd = os.open(name, os.O_RDONLY | _NO_WAIT | NO_FOLLOW, dir_fd=self._rw)
        self._give(fd)
        return fd

    def collect(self, name: str, size_bytes: int) -> int:
        """Open a file that Firecracker wrote; return our descriptor.

        Raises:
            VmError: it is no file of at most `size_bytes`.
        """
        try:
            flags = os.O_RDONLY | _NO_WAIT | NO_FOLLOW
            fd = os.open(name, flags, dir_fd=self._rw)
        except OSError as problem:
            raise VmError(f"Firecracker left no {name}: {problem.strerror}") from problem
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size > size_bytes:
            os.close(fd)
            raise VmError(f"what Firecracker left as {name} is no file of the expected size")
        return fd

    def forget(self, inside: str) -> None:
        """Remove a file by the path that Firecracker sees; what is open there stays usable."""
        place, _, name = inside.lstrip("/").partition("/")
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._rw if f"/{place}" == WRITABLE else self._ro)

    def connect(self, name: str) -> socket.socket:
        """Connect to a socket that Firecracker listens on, at once.

        Raises:
            OSError: nobody listens there, or it is no socket.
        """
        if sys.platform != "linux":
            raise HypervisorUnavailable("Firecracker runs on Linux only")
        # By descriptor: a path could be a link to some other socket of the host's by now, and
        # could be longer than an address may be. Source: unix(7); proc_pid_fd(5).
        found = os.open(name, os.O_PATH | NO_FOLLOW, dir_fd=self._rw)
        try:
            if not stat.S_ISSOCK(os.fstat(found).st_mode):
                raise OSError(f"{name} is no socket")
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(0)
                connection.connect(f"/proc/self/fd/{found}")
            except OSError:
                connection.close()
                raise
        finally:
            os.close(found)
        return connection

    def listen(self, name: str) -> socket.socket:
        """Listen on a socket that only Firecracker can reach."""
        if sys.platform == "win32":
            raise HypervisorUnavailable("Firecracker runs on Linux only")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(f"/proc/self/fd/{self._rw}/{name}")
            listener.listen(_BACKLOG)
            if self._owner is not None:
                os.chown(name, self._owner, self._owner, dir_fd=self._rw, follow_symlinks=False)
        except BaseException:
            listener.close()
            raise
        return listener

    def why_not_read_only(self, inside: str) -> str | None:
        """Return why Firecracker could change a file of `/ro`; None when the kernel forbids it.

        Where Firecracker has a uid of its own, the file's owner and mode forbid it. Otherwise the
        mount does, which is read back from the process elsewhere.
        """
        name = inside.removeprefix(f"{READ_ONLY}/")
        about = os.stat(name, dir_fd=self._ro, follow_symlinks=False)
        if self._owner is None:
            return None
        if about.st_uid == self._owner or about.st_mode & 0o022:
            return "the template's memory can be written"
        return None

    def _inside(self, name: str, *, writable: bool) -> str:
        return f"{WRITABLE if writable else READ_ONLY}/{name}"

    def _give(self, fd: int) -> None:
        if self._owner is not None and sys.platform != "win32":
            os.fchown(fd, self._owner, self._owner)

    def _copy(self, source: int, name: str, place: int) -> None:
        with _opened(name, place, os.O_CREAT | os.O_EXCL | os.O_RDWR) as target:
            if not _cloned(source, target):
                _copy_sparse(source, target)


def sweep(directory: Path) -> None:
    """Remove the rooms whose LuminaGuard is dead; never touch a living one's. Blocking."""
    for lock in directory.glob(f"*/*/{_LOCK}"):
        with suppress(OSError):
            fd = os.open(lock, os.O_RDWR | NO_FOLLOW)
            try:
                if try_lock(fd):
                    shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(fd)


def _set_mode(fd: int, mode: int) -> None:
    if sys.platform != "win32":
        os.fchmod(fd, mode)


def _directory(path: Path, mode: int) -> int:
    path.mkdir(mode=mode)
    path.chmod(mode)
    return os.open(path, os.O_RDONLY | DIRECTORY | NO_FOLLOW)


@contextmanager
def _opened(name: str, place: int, flags: int) -> Generator[int]:
    fd = os.open(name, flags | NO_FOLLOW, 0o600, dir_fd=place)
    try:
        yield fd
    finally:
        os.close(fd)


def _linked(source: int, name: str, place: int) -> bool:
    """Give an open file a name. Source: open(2), O_TMPFILE; linkat(2), AT_SYMLINK_FOLLOW."""
    try:
        os.link(f"/proc/self/fd/{source}", name, dst_dir_fd=place, follow_symlinks=True)
    except OSError:  # another file system, a memory file, a name that was taken away
        return False
    return True


def _cloned(source: int, target: int) -> bool:
    """Let two files share their blocks until one changes. Source: ioctl_ficlonerange(2)."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _copy_sparse(source: int, target: int) -> None:
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    for start, length in data_extents(source, size):
        for offset in range(start, start + length, _COPY_BYTES):
            wanted = min(_COPY_BYTES, start + length - offset)
            write_at(target, read_at(source, wanted, offset), offset)
