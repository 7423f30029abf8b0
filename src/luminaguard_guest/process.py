"""The agent among the host's own processes: no kernel between it and the host but the host's.

As in a sandbox, but what is asked for is answered by the real kernel: so everything is shut that a
box's making does not need, before the host's first word is read, and commands get Landlock's walls
besides the filter. The agent is root of a user namespace only, which is nobody on the host.
"""

import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

from luminaguard_guest import (
    copied,
    landlock,
    mounts,
    overlay,
    privileges,
    profile,
    sandboxbox,
    workspace,
)
from luminaguard_guest.agent import Agent, only_fail
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.landlock import Walls
from luminaguard_guest.mounts import MNT_DETACH, MS_NODEV, MS_NOSUID
from luminaguard_guest.sandbox import (
    LOWER,
    OPEN_FILES,
    PROFILE,
    SandboxGround,
    host_socket,
    scratch_bytes,
)
from luminaguard_guest.sandboxbox import Hold
from luminaguard_guest.seccomp import Filter, Rules, filter_for
from luminaguard_guest.wire import Message

_OWN_CALLS = ("chroot", "mount", "sethostname", "umount2", "unshare")
"""What the agent needs besides what commands have. With the host's name it tries its own filter."""
_PROC = "subset=pid,hidepid=invisible"
_BYTES_A_FILE = 4096
_FEWEST_FILES = 4096
_TRIAL = "/run/luminaguard/trial"


class ProcessGround(SandboxGround):
    """A workspace by overlay where a user namespace may have one, by copy otherwise."""

    def __init__(self, uid: int, *, copying: bool) -> None:
        """Let commands, which run as this user, own what they write to."""
        super().__init__(uid)
        self._copying = copying
        self._merged = ""

    def assemble(self, path: bytes, filesystem: str) -> list[workspace.Tree]:
        """Mount scratch space and the workspace where the box sees them already."""
        sandboxbox.writable_root(sandboxbox.ROOT, writable=True)
        try:
            return super().assemble(path, filesystem)
        finally:
            sandboxbox.writable_root(sandboxbox.ROOT, writable=False)

    def scratch_options(self) -> str:
        """Bound files by number as well: each takes memory of the host's kernel."""
        size = scratch_bytes()
        files = max(size // _BYTES_A_FILE, _FEWEST_FILES)
        return f"mode=0700,size={size},nr_inodes={files}"

    def show(self, merged: str, flags: int) -> None:
        """Mount the workspace, as commands see it, at `merged`."""
        self._merged = merged
        if self._copying:
            size = scratch_bytes() + copied.size(os.fsencode(LOWER))
            options = f"mode=0755,size={size}"
            self.mount("workspace", merged, "tmpfs", flags, options)
            copied.copy(os.fsencode(LOWER), os.fsencode(merged))
        else:
            work = f"{os.path.dirname(workspace.UPPER)}/work"
            places = f"lowerdir={LOWER},upperdir={workspace.UPPER},workdir={work},userxattr"
            self.mount("workspace", merged, "overlay", flags, places)

    def changes(self, skip: tuple[bytes, ...]) -> Iterator[Message]:
        """Walk the overlay's upper layer, or compare the copy."""
        upper = workspace.upper()
        if self._copying:
            return copied.changes(LOWER, self._merged, skip)
        return overlay.harvest(upper, skip, overlay.USER)


def overlay_works() -> bool:
    """Whether this kernel keeps all marks of an overlay that a user namespace mounts.

    Needs Linux 5.11 for the mount, 6.6 for attributes on tmpfs.
    """
    flags = MS_NODEV | MS_NOSUID
    os.makedirs(_TRIAL, mode=0o700, exist_ok=True)
    mounts.mount("trial", _TRIAL, "tmpfs", flags, "mode=0700,size=64k")
    try:
        for name in ("lower/replaced", "upper", "work", "merged"):
            os.makedirs(f"{_TRIAL}/{name}")
        places = "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work,userxattr"
        merged = f"{_TRIAL}/merged"
        mounts.mount("trial", merged, "overlay", flags, places.format(_TRIAL))
        os.rmdir(f"{merged}/replaced")
        os.mkdir(f"{merged}/replaced")
        return os.getxattr(f"{_TRIAL}/upper/replaced", f"{overlay.USER}opaque") == b"y"
    except (OSError, GuestFault):
        return False
    finally:
        with suppress(GuestFault):
            mounts.unmount(f"{_TRIAL}/merged", MNT_DETACH)
        mounts.unmount(_TRIAL, MNT_DETACH)


def own_filter(rules: Rules) -> Filter:
    """Return the filter for the agent itself: as for commands, and what it needs to hold them."""
    checked = tuple(name for name in rules.checked if name not in _OWN_CALLS)
    return filter_for(Rules((*rules.allowed, *_OWN_CALLS), checked, rules.absent))


def main(uid: int, *, copying: bool = False) -> NoReturn:
    """Serve the host over standard input until it goes.

    Args:
        uid: User that commands run as: 1000, or 0 without capabilities where there is no other.
        copying: Work on a copy even where an overlay would do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with suppress(OSError, ValueError):
        privileges.raise_open_files(OPEN_FILES)
    port = host_socket()
    try:
        os.umask(0o022)
        wanted = profile.read(PROFILE)
        own_filter(wanted.rules).put_on()
        walls = Walls() if landlock.version() >= landlock.OLDEST else None
        ground = ProcessGround(uid, copying=copying or not overlay_works())
        to_box = sandboxbox.start(wanted, Hold(uid=uid, walls=walls, proc=_PROC, seal=True))
    except (OSError, GuestFault) as error:
        traceback.print_exc()
        only_fail(port, f"the sandbox cannot be set up: {error}")
    Agent(port, to_box, ground).serve()
