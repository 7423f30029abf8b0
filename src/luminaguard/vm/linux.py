"""Linux system calls that micro-VMs rest on; elsewhere each of them says that it is missing.

Keeping them in one file lets everything above type-check on every platform.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import resource

NO_FOLLOW = 0 if sys.platform == "win32" else os.O_NOFOLLOW
DIRECTORY = 0 if sys.platform == "win32" else os.O_DIRECTORY
_LINUX_ONLY = "micro-VMs under QEMU are confined with Linux means, which this system does not have"


def _unavailable() -> HypervisorUnavailable:
    return HypervisorUnavailable(_LINUX_ONLY, hint="run LuminaGuard on Linux")


def user_id() -> int:
    """Return the effective uid of this process; -1 where there is no such thing."""
    return -1 if sys.platform == "win32" else os.geteuid()


def allow_open_files(count: int = 65_536) -> None:
    """Let this process have so many files open, as far as the host's hard limit goes.

    The usual soft limit of 1024 is for programs that call select(2), which none of ours does: a
    machine holds about a dozen. Source: systemd, "file descriptor limits".
    """
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def read_at(fd: int, size_bytes: int, offset: int) -> bytes:
    """Read without moving the file's position."""
    if sys.platform == "win32":
        raise _unavailable()
    return os.pread(fd, size_bytes, offset)


def read_into(fd: int, buffer: memoryview, offset: int) -> int:
    """Read into a buffer without moving the file's position; return how many bytes came."""
    if sys.platform == "win32":
        raise _unavailable()
    return os.preadv(fd, [buffer], offset)


def write_at(fd: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of it without moving the file's position."""
    if sys.platform == "win32":
        raise _unavailable()
    done = 0
    while done < len(content):
        done += os.pwrite(fd, memoryview(content)[done:], offset + done)


def quiet_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that neither blocks its writer nor its reader."""
    if sys.platform != "linux":
        raise _unavailable()
    return os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)


def memory_file(name: str, size_bytes: int = 0) -> int:
    """Return the descriptor of a new, sealable memory file; it vanishes with its last user."""
    if sys.platform != "linux":
        raise _unavailable()
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if size_bytes:
        os.ftruncate(fd, size_bytes)
    return fd


def seal(fd: int) -> None:
    """Make a memory file unchangeable for ever, for everybody.

    Fails with EBUSY while somebody maps it shared and writable.
    Source: fcntl(2), "File Sealing".
    """
    if sys.platform != "linux":
        raise _unavailable()
    fcntl.fcntl(
        fd,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
    )


def is_sealed(fd: int) -> bool:
    """Whether the kernel says that nobody can write, shrink, grow or unseal this file."""
    if sys.platform != "linux":
        return False
    wanted = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & wanted == wanted


def anonymous_file(directory: Path) -> int:
    """Return a read-write 0600 file in `directory` that has no name, so nothing to clean up.

    Outside Linux it has one for a moment, which a crash just then would leave behind.
    """
    if sys.platform == "win32":
        raise _unavailable()
    if sys.platform == "linux":
        return os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    fd, name = tempfile.mkstemp(dir=directory)
    os.unlink(name)
    return fd


def data_extents(fd: int, size_bytes: int) -> list[tuple[int, int]]:
    """Return (offset, length) of the stretches of a file that are not holes, ascending."""
    if sys.platform == "win32":
        raise _unavailable()
    extents: list[tuple[int, int]] = []
    position = 0
    while position < size_bytes:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole follows
            break
        position = os.lseek(fd, start, os.SEEK_HOLE)
        extents.append((start, position - start))
    return extents


def process_handle(pid: int) -> int:
    """Return a pidfd: unlike a number it never comes to mean another process."""
    if sys.platform != "linux":
        raise _unavailable()
    return os.pidfd_open(pid)


def kill_process(handle: int) -> None:
    """Kill the process behind a pidfd, if it still lives."""
    if sys.platform != "linux":
        raise _unavailable()
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return


def send_signal(pids: Iterable[int], name: str) -> None:
    """Send "SIGSTOP", say, to processes; one that is gone is left out."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.Signals[name])


def give_away(path: bytes, uid: int) -> None:
    """Make a user, and the group of the same number, own a file; no symbolic link is followed."""
    if sys.platform == "win32":
        raise _unavailable()
    os.chown(path, uid, uid, follow_symlinks=False)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take an flock without waiting; True when it could be had.

    Exclusive, or `shared` with others that share it.
    The lock lives until the last duplicate of the descriptor is closed, in every process.
    """
    if sys.platform == "win32":
        return _try_windows_lock(fd, shared=shared)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_windows_lock(fd: int, *, shared: bool) -> bool:
    """Lock the first byte, which need not exist. Source: Microsoft C runtime, _locking().

    Windows frees the lock with the process, but knows no shared one here.
    """
    if sys.platform != "win32" or shared:
        raise _unavailable()
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True
