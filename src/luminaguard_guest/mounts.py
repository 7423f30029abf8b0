"""Mounts, namespaces and devices through the C library: what `os` of Python 3.11 lacks."""

import ctypes
import fcntl
import os
import platform

from luminaguard_guest.faults import GuestFault

# Source: Linux include/uapi/linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

# Source: Linux include/uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# System call numbers above 423 are the same on every architecture.
# Source: Linux include/uapi/asm-generic/unistd.h
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100
_BLKFLSBUF = 0x1261
"""Write back and forget what is cached of a block device. Source: include/uapi/linux/fs.h."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise GuestFault(f"{what}: {os.strerror(number)}")
    return result


def mount(
    source: str, target: str, filesystem: str | None, flags: int = 0, options: str = ""
) -> None:
    """Mount, bind, remount, or change propagation."""
    kind = None if filesystem is None else filesystem.encode()
    result = _libc.mount(
        source.encode(),
        os.fsencode(target),
        kind,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )
    _checked(result, f"cannot mount {source} at {target}")


def bind_read_only(source: str, target: str) -> None:
    """Show `source` at `target`, not writable, without devices and set-user-ID programs."""
    mount(source, target, None, MS_BIND)
    mount(source, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def unmount(target: str, flags: int = 0) -> None:
    """Unmount: umount2(2)."""
    _checked(_libc.umount2(os.fsencode(target), flags), f"cannot unmount {target}")


def unshare(namespaces: int) -> None:
    """Leave the given namespaces for new ones."""
    _checked(_libc.unshare(namespaces), "cannot make namespaces")


def detached_copy(path: str) -> int:
    """Return a descriptor of a copy of the mount at `path`, attached nowhere: open_tree(2)."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    result = _libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)
    return _checked(result, f"cannot copy the mount at {path}")


def attach(tree_fd: int, target: bytes) -> None:
    """Attach a detached mount at `target`: move_mount(2)."""
    result = _libc.syscall(_MOVE_MOUNT, tree_fd, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH)
    _checked(result, f"cannot attach a mount at {os.fsdecode(target)}")


def enter_root(root: str) -> None:
    """Make `root`, a mount point, the only root there is: pivot_root(2), old root detached.

    Source: pivot_root(2), 'pivot_root(".", ".")'.
    """
    os.chdir(root)
    _checked(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "cannot enter the box")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def forget_cached(device: str) -> None:
    """Drop what the kernel remembers of a block device: its backing file was swapped."""
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _BLKFLSBUF, 0)
    finally:
        os.close(descriptor)
