"""The agent in a sandbox: no kernel and no disks of its own, a socket on stdin to the host.

The same agent, box and harvest as in a machine; what differs is what it stands on. The host shows
one directory, `HOST`: the agent's sources, the hardening profile, and the workspace's files once
they are there. The sandbox is made anew for every use, by a host that gives it its clock and its
randomness, so there is nothing to set and nothing to reseed.
"""

import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

from luminaguard_guest import mounts, overlay, privileges, profile, sandboxbox, workspace
from luminaguard_guest.agent import Agent, only_fail
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.mounts import MNT_DETACH, MS_BIND, MS_NODEV, MS_NOSUID
from luminaguard_guest.port import Port
from luminaguard_guest.sandboxbox import ROOT, Hold
from luminaguard_guest.wire import Message

HOST = "/mnt"
LOWER = f"{HOST}/lower"
_SCRATCH_BYTES = f"{HOST}/scratch-bytes"
PROFILE = f"{HOST}/profile.json"
OPEN_FILES = 4096
_READ_BYTES = 64 * 1024
_BOUND = (("home", "/home"), ("tmp", "/tmp"), ("var-tmp", "/var/tmp"))  # noqa: S108 - on the guest's own disk


class HostSocket(Port):
    """The way to the host. Once that is gone, so is the sandbox."""

    def read(self) -> Iterator[tuple[int, Message]]:
        """Give the messages that arrived; end the sandbox when the host closed its end."""
        try:
            content = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            content = b""
        except OSError:
            os._exit(0)
        else:
            if not content:
                os._exit(0)
        return self._decoder.feed(content)


class SandboxGround:
    """Mounts on the sandbox's own tables; the workspace's files come as a directory."""

    def __init__(self, uid: int) -> None:
        """Let commands, which run as this user, own what they write to."""
        self._uid = uid
        self._mounted: list[str] = []

    def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Do nothing: randomness and time are the host's own, asked for at each call."""

    def assemble(self, path: bytes, filesystem: str) -> list[workspace.Tree]:
        """Mount scratch space and the overlay where the box sees them already."""
        del filesystem  # the host has unpacked it
        workspace.check_path(path)
        if self._mounted:
            raise GuestFault("a workspace is mounted already")
        scratch = os.path.dirname(workspace.UPPER)
        os.makedirs(scratch, mode=0o700, exist_ok=True)
        flags = MS_NODEV | MS_NOSUID
        self.mount("scratch", scratch, "tmpfs", flags, self.scratch_options())
        owner = self._uid
        _directory(workspace.UPPER, os.stat(LOWER).st_mode & 0o7777, owner)
        _directory(f"{scratch}/work", 0o700, 0)
        for name, target in _BOUND:
            mode = 0o755 if name == "home" else 0o1777
            _directory(f"{scratch}/{name}", mode, 0)
            if name == "home":
                _directory(f"{scratch}/home/guest", 0o755, owner)
            self.mount(f"{scratch}/{name}", ROOT + target, None, MS_BIND, "")
        merged = ROOT + os.fsdecode(path)
        os.makedirs(merged, exist_ok=True)
        self.show(merged, flags)
        return []

    def scratch_options(self) -> str:
        """Return how the scratch space is mounted."""
        return f"mode=0700,size={scratch_bytes()}"

    def show(self, merged: str, flags: int) -> None:
        """Mount the workspace, as commands see it, at `merged`."""
        work = f"{os.path.dirname(workspace.UPPER)}/work"
        places = f"lowerdir={LOWER},upperdir={workspace.UPPER},workdir={work}"
        self.mount("workspace", merged, "overlay", flags, places)

    def mount(self, source: str, target: str, kind: str | None, flags: int, options: str) -> None:
        """Mount something that `take_apart` unmounts."""
        mounts.mount(source, target, kind, flags, options)
        self._mounted.append(target)

    def changes(self, skip: tuple[bytes, ...]) -> Iterator[Message]:
        """Walk the overlay's upper layer."""
        return overlay.harvest(workspace.upper(), skip)

    def take_apart(self) -> None:
        """Unmount what `assemble` mounted."""
        while self._mounted:
            mounts.unmount(self._mounted[-1], MNT_DETACH)
            self._mounted.pop()

    def is_busy(self) -> bool:
        """Whether a process without capabilities lives: nothing but commands has none."""
        return bool(sandboxbox.command_processes())

    def kill_all(self) -> None:
        """Kill them; the caller looks again, for what they started meanwhile."""
        for pid in sandboxbox.command_processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def host_socket() -> HostSocket:
    """Return the way to the host, which was standard input; that is the null device from now on."""
    port = HostSocket(os.dup(0))
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return port


def _directory(path: str, mode: int, owner: int) -> None:
    os.mkdir(path)
    os.chmod(path, mode)
    if owner:
        os.chown(path, owner, owner)


def scratch_bytes() -> int:
    """Return how much commands may write, as the host says."""
    with open(_SCRATCH_BYTES, "rb", buffering=0) as file:
        return int(file.read(32))


def main(uid: int) -> NoReturn:
    """Serve the host over standard input until it goes.

    `uid`: user that commands run as: 1000, or 0 without capabilities where there is no other.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with suppress(OSError, ValueError):
        privileges.raise_open_files(OPEN_FILES)
    port = host_socket()
    try:
        os.umask(0o022)
        to_box = sandboxbox.start(profile.read(PROFILE), Hold(uid=uid))
    except (OSError, GuestFault) as error:
        traceback.print_exc()
        only_fail(port, f"the sandbox cannot be set up: {error}")
    Agent(port, to_box, SandboxGround(uid)).serve()
