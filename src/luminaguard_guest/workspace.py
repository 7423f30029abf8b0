"""Putting a workspace together: scratch disk, read-only image, and the overlay over both."""

import os
from dataclasses import dataclass

from luminaguard_guest import lsm as access
from luminaguard_guest import mounts
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.lsm import Lsm, joined
from luminaguard_guest.mounts import MS_NOATIME, MS_NODEV, MS_NOSUID, MS_RDONLY
from luminaguard_guest.privileges import UID

_BASE = "/run/luminaguard"
_SCRATCH = f"{_BASE}/scratch"
_LOWER = f"{_BASE}/lower"
_MERGED = f"{_BASE}/merged"
_SCRATCH_FLAGS = MS_NOATIME | MS_NODEV | MS_NOSUID
UPPER = f"{_SCRATCH}/upper"
_BOUND = (f"{_SCRATCH}/home", f"{_SCRATCH}/tmp", f"{_SCRATCH}/var-tmp")  # noqa: S108 - on the guest's own disk
"""What is shown beside the workspace, at /home, /tmp and /var/tmp."""
_WORK = f"{_SCRATCH}/work"

ROOT_DISK, WORKSPACE_DISK, SCRATCH_DISK = "lg-root", "lg-workspace", "lg-scratch"
"""Serial numbers that the host gives its disks."""

_FILESYSTEMS = {"squashfs", "erofs"}
_RESERVED = {
    *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32"),
    *("opt", "proc", "run", "sbin", "sys", "usr"),
}
"""First components that a workspace cannot lie under: the guest's own."""
_COVERED = {"/", "/home", "/home/guest", "/tmp", "/var", "/var/tmp"}  # noqa: S108 - only names
"""Directories that must stay what they are; below them is fine."""

_OPTIONS = "index=off,metacopy=off,redirect_dir=on,xino=off,volatile"
"""`redirect_dir` lets programs rename directories; `volatile` makes syncs free, as nothing here
outlives the machine. Source: Linux Documentation/filesystems/overlayfs.rst"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A detached mount and where the box shall attach it."""

    descriptor: int
    target: bytes


def check_path(path: bytes) -> None:
    """Refuse places where a workspace cannot be shown.

    Raises:
        GuestFault: with the reason.
    """
    text = os.fsdecode(path)
    parts = text.split("/")[1:]
    if not text.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise GuestFault(f"{text!r} is not a normal absolute path")
    if text in _COVERED or parts[0] in _RESERVED:
        raise GuestFault(
            f"a workspace cannot be shown at {text}: the guest needs that place itself"
        )


def assemble(path: bytes, filesystem: str, lsm: Lsm) -> list[Tree]:
    """Mount everything in the agent's own namespace; return what the box has to attach, in order.

    `lsm` says how file systems are labelled that commands work on.

    Raises:
        GuestFault: a disk or file system is not there, or does not fit.
    """
    check_path(path)
    if filesystem not in _FILESYSTEMS:
        raise GuestFault(f"{filesystem!r} is no file system for a workspace image")
    if os.path.ismount(_SCRATCH):
        raise GuestFault("a workspace is mounted already")
    label = lsm.label(access.WORK)
    _mount_disks(filesystem, label)
    places = f"lowerdir={_LOWER},upperdir={UPPER},workdir={_WORK}"
    options = joined(places, _OPTIONS, label)
    mounts.mount("workspace", _MERGED, "overlay", MS_NOATIME | MS_NODEV | MS_NOSUID, options)
    shown = (*zip(_BOUND, (b"/home", b"/tmp", b"/var/tmp"), strict=True), (_MERGED, path))
    return [Tree(descriptor=_copy(source), target=target) for source, target in shown]


def upper() -> str:
    """Return the overlay's upper layer.

    Raises:
        GuestFault: no workspace is mounted.
    """
    if not os.path.isdir(UPPER):
        raise GuestFault("no workspace is mounted")
    return UPPER


def take_apart() -> None:
    """Unmount everything that `assemble` mounted; the box has let go of it.

    Raises:
        GuestFault: something is still in use, or nothing was mounted.
    """
    for place in (_MERGED, *_BOUND[::-1], _LOWER, _SCRATCH):
        mounts.unmount(place)


def _copy(source: str) -> int:
    if os.path.ismount(source):
        return mounts.detached_copy(source)
    mounts.mount(source, source, None, mounts.MS_BIND)
    return mounts.detached_copy(source)


def _mount_disks(filesystem: str, label: str) -> None:
    scratch, image = (f"/dev/{block_device(name)}" for name in (SCRATCH_DISK, WORKSPACE_DISK))
    for device in (scratch, image):
        mounts.forget_cached(device)
    for directory in (_SCRATCH, _LOWER, _MERGED):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    mounts.mount(scratch, _SCRATCH, "ext4", _SCRATCH_FLAGS, joined("noinit_itable", label))
    mounts.mount(image, _LOWER, filesystem, MS_RDONLY | MS_NODEV | MS_NOSUID)
    os.chmod(_SCRATCH, 0o700)
    _directory(UPPER, os.stat(_LOWER).st_mode & 0o7777, UID)
    _directory(_WORK, 0o700, 0)
    _directory(f"{_SCRATCH}/home", 0o755, 0)
    _directory(f"{_SCRATCH}/home/guest", 0o755, UID)
    _directory(f"{_SCRATCH}/tmp", 0o1777, 0)  # noqa: S108 - on the guest's own disk
    _directory(f"{_SCRATCH}/var-tmp", 0o1777, 0)


def _directory(path: str, mode: int, owner: int) -> None:
    os.mkdir(path)
    os.chmod(path, mode)
    os.chown(path, owner, owner)


def disk_numbers() -> list[str]:
    """Return what commands use of disks, each as `major:minor`."""
    numbers: list[str] = []
    for serial in (ROOT_DISK, WORKSPACE_DISK, SCRATCH_DISK):
        with open(f"/sys/block/{block_device(serial)}/dev", "rb", buffering=0) as file:
            numbers.append(file.read().strip().decode())
    return numbers


def block_device(serial: str, blocks: str = "/sys/block", line: str = "/proc/cmdline") -> str:
    """Return the name of the virtio disk with this serial number; udev's links do not exist.

    Where the machine cannot give its disks serial numbers of the host's choosing, the host names
    them on the kernel's command line instead.

    Args:
        serial: What the host calls it.
        blocks: Where the kernel lists disks.
        line: Where the kernel shows its command line.

    Raises:
        GuestFault: there is none.
    """
    for name in os.listdir(blocks):
        try:
            with open(f"{blocks}/{name}/serial", "rb", buffering=0) as file:
                if file.read().strip() == serial.encode():
                    return name
        except FileNotFoundError:
            continue
    with open(line, encoding="ascii", errors="replace") as file:
        named = [word.partition("=")[2] for word in file.read().split() if _names(word, serial)]
    if len(named) == 1 and named[0] in os.listdir(blocks):
        return named[0]
    raise GuestFault(f"there is no disk {serial}")


def _names(word: str, serial: str) -> bool:
    return word.startswith(f"luminaguard.{serial}=")
