"""The box in a sandbox: its own process tree and root, commands held without cgroups.

One command runs at a time. Everything in the box's pid namespace besides the box is then that
command's, and is ended by one signal to all: no name, group or session lets anything escape it.
"""

import os
import signal
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass

from luminaguard_guest import interpreter, mounts, privileges
from luminaguard_guest.box import Box
from luminaguard_guest.boxwire import FROM_BOX
from luminaguard_guest.confinement import Confinement
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.landlock import Walls
from luminaguard_guest.mounts import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
)
from luminaguard_guest.profile import Profile
from luminaguard_guest.wire import Failed

ROOT = "/run/luminaguard/box"
_PROC_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC
_SHOWN = ("usr", "etc", "opt")
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "node_modules")
_MADE = ("proc", "dev", "tmp", "home", "root", "run", "var", "var/tmp", "mnt", "srv")
_FIRST = {"tmp": "1777", "var/tmp": "1777", "home": "0755"}
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
"""Source: Linux Documentation/admin-guide/devices.txt"""
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """How a box holds its commands besides the profile."""

    uid: int
    """User that they run as: 1000, or 0 without capabilities where there is no other."""
    walls: Walls | None = None
    proc: str = ""
    """Options of the box's /proc."""
    seal: bool = False
    """Whether the box's root becomes read-only: commands may be the user that made it."""


def start(profile: Profile, hold: Hold) -> socket.socket:
    """Build the box's root and fork the box off the agent; return the agent's end of its socket.

    The box says `Done` for request 0 when it is ready, or `Failed` with the reason.
    """
    _build_root()
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    try:
        ours.close()
        _become_box(theirs, profile, hold)
    except BaseException as error:  # noqa: BLE001 - the agent must learn why there is no box
        with suppress(OSError):
            theirs.sendall(FROM_BOX.encode(0, Failed(f"{type(error).__name__}: {error}")))
    finally:
        os._exit(1)


def _become_box(connection: socket.socket, profile: Profile, hold: Hold) -> None:
    mounts.unshare(mounts.CLONE_NEWPID)
    if os.fork():
        return
    mounts.mount("proc", f"{ROOT}/proc", "proc", _PROC_FLAGS, hold.proc)
    os.chroot(ROOT)
    os.chdir("/")
    privileges.forbid_gaining()
    confinement = Confinement(profile, None, hold.uid, hold.walls)
    confinement.prove()
    if hold.seal:
        writable_root("/", writable=False)
    interpreter.preload()
    Box(connection, OneCall(), confinement).serve()


def writable_root(root: str, *, writable: bool) -> None:
    """Let the box's root directory take new names, or not; what is mounted below stays."""
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID
    mounts.mount("none", root, None, flags if writable else flags | MS_RDONLY)


def _build_root() -> None:
    os.makedirs(ROOT, exist_ok=True)
    mounts.mount("box", ROOT, "tmpfs", MS_NOSUID, "mode=0755,size=1m")
    for name in _MADE:
        os.mkdir(f"{ROOT}/{name}", 0o755)
    for name in _SHOWN:
        if os.path.isdir(f"/{name}"):
            os.mkdir(f"{ROOT}/{name}", 0o755)
            mounts.mount(f"/{name}", f"{ROOT}/{name}", None, MS_BIND)
    for name in _LINKS:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{ROOT}/{name}")
    for name, mode in _FIRST.items():
        options = f"mode={mode},size=16m"
        mounts.mount("first", f"{ROOT}/{name}", "tmpfs", MS_NOSUID | MS_NODEV, options)
    for name, (major, minor) in _DEVICES.items():
        _device(f"{ROOT}/dev/{name}", f"/dev/{name}", os.makedev(major, minor))
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{ROOT}/dev/{name}")
    shared = f"{ROOT}/dev/shm"  # noqa: S108 - in the sandbox
    os.mkdir(shared)
    mounts.mount("shm", shared, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m")


def _device(path: str, outside: str, number: int) -> None:
    """Make a device of the box's own, or show the sandbox's where only the host may make any."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, number)
        os.chmod(path, 0o666)  # noqa: S103 - as on every system
    except PermissionError:
        with open(path, "xb"):
            pass
        mounts.mount(outside, path, None, MS_BIND)


def command_processes() -> list[int]:
    """Return the living processes that hold no capability: commands, and nothing of ours."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _is_command(name)]


def _is_command(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            lines = file.read(8192).splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    facts = dict(line.split(b":", 1) for line in lines if b":" in line)
    if facts.get(b"State", b"").strip()[:1] in {b"Z", b"X"}:
        return False
    return int(facts.get(b"CapEff", b"0"), 16) == 0


class OneCall:
    """Commands one at a time: then whatever runs is the command's. In place of cgroups."""

    def __init__(self) -> None:
        """Nothing runs."""
        self._taken = False

    def take(self) -> "OnlyCall":
        """Return the only place.

        Raises:
            GuestFault: a command runs already.
        """
        if self._taken:
            raise GuestFault("a sandbox runs one command at a time")
        self._taken = True
        return OnlyCall(self)

    def free(self) -> None:
        """Allow the next command."""
        self._taken = False


class OnlyCall:
    """All processes of the box besides itself."""

    def __init__(self, place: OneCall) -> None:
        """Nothing has to be joined: there is no way out of a pid namespace."""
        self._place = place
        self.members_fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def give_back(self) -> None:
        """Free the place for the next command."""
        os.close(self.members_fd)
        self._place.free()

    def members(self) -> list[int]:
        """Return the processes in it, without those that are only to be reaped."""
        return command_processes()

    def is_empty(self) -> bool:
        """Whether nothing in it lives."""
        return not self.members()

    def kill(self) -> None:
        """End everything but the box: a signal to -1 spares the namespace's first process."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
