"""The root that commands see: system directories read-only, a few harmless devices, no more."""

import os
import stat

from luminaguard_guest import lsm as access
from luminaguard_guest import mounts
from luminaguard_guest.lsm import Lsm, joined
from luminaguard_guest.mounts import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
)

_ROOT = "/run/luminaguard/box"
_SHOWN = ("usr", "etc", "opt")
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "node_modules")
_MADE = ("proc", "dev", "tmp", "home", "root", "run", "var", "var/tmp", "mnt", "srv")
_FIRST = {"tmp": "1777", "var/tmp": "1777", "home": "0755"}
"""Where files can lie until the scratch disk is mounted over it: enough for a warm-up."""
_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
"""Minor numbers of memory devices (major 1). Source: Linux Documentation/admin-guide/devices.txt"""
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def enter(lsm: Lsm) -> None:
    """Build the root in the calling process's own mount namespace, and make it the only one.

    Must run as the first process of a new pid namespace: its processes are the ones in /proc.
    """
    mounts.mount("none", "/", None, MS_REC | MS_PRIVATE)
    os.makedirs(_ROOT, exist_ok=True)
    options = joined("mode=0755,size=1m,nr_inodes=1024", lsm.label(access.SYSTEM))
    mounts.mount("box", _ROOT, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for name in _MADE:
        os.mkdir(f"{_ROOT}/{name}", 0o755)
    for name in _SHOWN:
        if os.path.isdir(f"/{name}"):
            os.mkdir(f"{_ROOT}/{name}", 0o755)
            mounts.bind_read_only(f"/{name}", f"{_ROOT}/{name}")
    for name in _LINKS:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{_ROOT}/{name}")
    for name, mode in _FIRST.items():
        options = joined(f"mode={mode},size=16m,nr_inodes=4096", lsm.label(access.WORK))
        mounts.mount("first", f"{_ROOT}/{name}", "tmpfs", MS_NOSUID | MS_NODEV, options)
    _devices(f"{_ROOT}/dev", lsm)
    mounts.mount(
        "proc",
        f"{_ROOT}/proc",
        "proc",
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
        "subset=pid,hidepid=invisible",
    )
    mounts.enter_root(_ROOT)


def writable_root(*, writable: bool) -> None:
    """Let the root directory itself take new names, or not; what is mounted below stays."""
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV
    mounts.mount("none", "/", None, flags if writable else flags | MS_RDONLY)


def _devices(directory: str, lsm: Lsm) -> None:
    label = lsm.label(access.DEVICES)
    options = joined("mode=0755,size=64k", label)
    mounts.mount("dev", directory, "tmpfs", MS_NOSUID | MS_NOEXEC, options)
    for name, minor in _DEVICES.items():
        _device(f"{directory}/{name}", os.makedev(1, minor))
    _device(f"{directory}/tty", os.makedev(5, 0))
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{directory}/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{directory}/{name}")
    # 0620 and group 5 (tty) are what every distribution gives terminals.
    options = joined("newinstance,ptmxmode=0666,mode=0620,gid=5", label)
    mounts.mount("devpts", f"{directory}/pts", "devpts", MS_NOSUID | MS_NOEXEC, options)
    options = joined("mode=1777,size=64m", lsm.label(access.WORK))
    mounts.mount("shm", f"{directory}/shm", "tmpfs", MS_NOSUID | MS_NODEV, options)


def _device(path: str, number: int) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, number)
    os.chmod(path, 0o666)  # noqa: S103 - as on every system
