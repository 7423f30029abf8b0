"""Starting one sandbox and ending it for certain: runsc, its gofer and its sentry.

The guest's channel is its standard input, one end of a socket pair: it has no name. Should this
process die, the kernel kills runsc (parent-death signal), which takes sentry and gofer along, and
the guest's agent ends itself when the socket closes; the undertaker sees to what is left.
"""

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.errors import GuestLost, VmError
from luminaguard.vm.backends.gvisor.bundle import Bundle
from luminaguard.vm.backends.gvisor.runsc import Runsc
from luminaguard.vm.confinement.cgroups.machine import MachineCgroup
from luminaguard.vm.confinement.descent import children, descendants
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.confinement.jail import counts_apart
from luminaguard.vm.guestprocesses import ENTER, SAFE_PATH, GuestProcesses
from luminaguard.vm.linux import user_id
from luminaguard.vm.room import Room

_APART = ("--pid", "--cgroup", "--mount-proc", "--fork", "--kill-child=KILL")
"""A pid namespace around all of runsc: under ptrace it makes none, and the namespace's end is
certain to be the end of everything in it."""
THREADS = 4096
"""On the host: the sentry's own, and under ptrace one for each of the guest's."""
_CONTROL_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to start."""

    runsc: Runsc
    platform: str
    room: Room
    """The machine's directory, whose name carries the owner's mark into every command line."""
    bundle: Bundle
    """What is in it."""
    cgroup: MachineCgroup

    @property
    def name(self) -> str:
        """The container's."""
        return self.room.name

    @property
    def prefix(self) -> list[str]:
        """Return runsc with the options that all its commands need."""
        rootless = ["--rootless"] if user_id() != 0 else []
        return [
            self.runsc.path,
            f"--root={self.bundle.state}",
            "--network=none",
            "--ignore-cgroups",
            "--file-access-mounts=shared",
            f"--platform={self.platform}",
            *rootless,
        ]


class Sandbox:
    """The processes of one machine."""

    def __init__(self, order: Order, held: GuestProcesses) -> None:
        """Take over a started runsc; use `start`."""
        self.client = held.client
        self.cgroup = order.cgroup
        self._order = order
        self._held = held
        self._sentry = held.first

    @classmethod
    def start(cls, order: Order) -> "Sandbox":
        """Start runsc; the guest need not be up yet. From the event loop's own thread only.

        Raises:
            HypervisorUnavailable: a tool that starts it is missing.
        """
        return cls(order, GuestProcesses.start(_command(order), "runsc"))

    @property
    def pid(self) -> int:
        """Process id of the sentry, the guest's kernel; of runsc until `greet`."""
        return self._sentry

    @property
    def alive(self) -> bool:
        """Whether runsc, which ends with its sandbox, still runs."""
        return self._held.alive

    async def greet(self, limit_s: float) -> None:
        """Wait until the guest has answered, and take hold of every process.

        Raises:
            BootTimeout: it did not within `limit_s`.
            GuestLost: it ended.
        """
        await self._held.greet(limit_s, "the sandbox")
        self._find()

    def _find(self) -> None:
        """Take hold of every process of the machine, and learn which is the sentry.

        Raises:
            GuestLost: it is not there.
        """
        for pid in descendants(self._held.first):
            with suppress(ProcessLookupError):
                self._held.hold(pid)
                if b"boot" in _arguments(pid):
                    self._sentry = pid
        if self._sentry == self._held.first:
            raise GuestLost("the sandbox is gone")

    async def control(self, command: str) -> None:
        """Have runsc do something with the running container: "pause", "resume".

        Raises:
            VmError: it could not.
        """
        space = [f"--target={self._first()}", "--pid", "--mount"]
        if user_id() != 0:
            space += ["--user", "--preserve-credentials"]
        enter = [tool("nsenter"), *space, "--"]
        arguments = [*enter, *self._order.prefix, command, self._order.name]
        try:
            with anyio.fail_after(_CONTROL_LIMIT_S):
                done = await anyio.run_process(
                    arguments, check=False, env=SAFE_PATH, stdin=subprocess.DEVNULL
                )
        except TimeoutError as problem:
            raise VmError(f"runsc {command} took over {_CONTROL_LIMIT_S:.0f} s") from problem
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()[-500:]
            raise VmError(f"runsc could not {command} the sandbox: {said}")

    def _first(self) -> int:
        """Return runsc's own process: the namespace's first.

        Raises:
            GuestLost: it is gone.
        """
        inside = children(self._held.first)
        if not inside:
            raise GuestLost("the sandbox is gone")
        return inside[0]

    async def end(self) -> None:
        """Kill every process, wait until they are gone, and remove what they left. Idempotent."""
        if self._held.ended:
            return
        with suppress(OSError, GuestLost):
            self._find()
        await self._held.end()
        await self.cgroup.remove()
        await run_sync(self._order.room.remove)


def _command(order: Order) -> list[str]:
    """Return the command line that starts a container: each step becomes the next by exec."""
    return [
        *(tool("setpriv"), "--pdeathsig", "KILL", "--"),
        *(tool("prlimit"), "--core=0:0", "--"),
        *("/bin/sh", "-c", ENTER, "sh", *order.cgroup.joins, "--"),
        *(tool("unshare"), *_own_user(), *_APART, "--", *_own_count()),
        *(*order.prefix, "run", "--bundle", str(order.bundle.directory), order.name),
    ]


def _own_user() -> tuple[str, ...]:
    """Return what an ordinary user needs to make namespaces."""
    return () if user_id() == 0 else ("--user", "--map-root-user")


def _own_count() -> tuple[str, ...]:
    """Return what bounds an ordinary user's sandbox where no control group does: its own threads.

    Set inside the user namespace, the limit counts what is in there and nothing else of the user.
    Root's sandboxes have a control group; root itself is under no such limit.
    """
    apart = user_id() != 0 and counts_apart()
    return (tool("prlimit"), f"--nproc={THREADS}", "--") if apart else ()


def _arguments(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []
