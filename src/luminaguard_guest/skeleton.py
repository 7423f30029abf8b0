"""The root that commands see: system directories read-only, a few harmless devices, no more."""

import os
import stat

from luminaguard_guest import mounts
from luminaguard_guest.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC

_ROOT = "/run/luminaguard/box"
_SHOWN = ("usr", "etc", "opt")
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_MADE = ("proc", "dev", "tmp", "home", "root", "run", "var", "var/tmp", "mnt", "srv")
_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
"""Minor numbers of memory devices (major 1). Source: Linux Documentation/admin-guide/devices.txt"""
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def enter() -> None:
    """Build the root in the calling process's own mount namespace, and make it the only one.

    Must run as the first process of a new pid namespace: its processes are the ones in /proc.
    """
    mounts.mount("none", "/", None, MS_REC | MS_PRIVATE)
    os.makedirs(_ROOT, exist_ok=True)
    # /tmp and /home lie here until the scratch disk is mounted: enough for a warm-up.
    mounts.mount("box", _ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m,nr_inodes=4096")
    for name in _MADE:
        os.mkdir(f"{_ROOT}/{name}", 0o755)
    for name in _SHOWN:
        if os.path.isdir(f"/{name}"):
            os.mkdir(f"{_ROOT}/{name}", 0o755)
            mounts.bind_read_only(f"/{name}", f"{_ROOT}/{name}")
    for name in _LINKS:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{_ROOT}/{name}")
    for name in ("tmp", "var/tmp"):
        os.chmod(f"{_ROOT}/{name}", 0o1777)  # noqa: S103 - what these directories are
    _devices(f"{_ROOT}/dev")
    mounts.mount(
        "proc",
        f"{_ROOT}/proc",
        "proc",
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
        "subset=pid,hidepid=invisible",
    )
    mounts.enter_root(_ROOT)


def _devices(directory: str) -> None:
    mounts.mount("dev", directory, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k")
    for name, minor in _DEVICES.items():
        _device(f"{directory}/{name}", os.makedev(1, minor))
    _device(f"{directory}/tty", os.makedev(5, 0))
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{directory}/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{directory}/{name}")
    # 0620 and group 5 (tty) are what every distribution gives terminals.
    options = "newinstance,ptmxmode=0666,mode=0620,gid=5"
    mounts.mount("devpts", f"{directory}/pts", "devpts", MS_NOSUID | MS_NOEXEC, options)
    options = "mode=1777,size=64m"
    mounts.mount("shm", f"{directory}/shm", "tmpfs", MS_NOSUID | MS_NODEV, options)


def _device(path: str, number: int) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, number)
    os.chmod(path, 0o666)  # noqa: S103 - as on every system
