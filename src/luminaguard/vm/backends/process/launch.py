"""Starting one machine of processes, stopping and waking it, and ending it for certain.

The guest's channel is its standard input, one end of a socket pair: it has no name. Each process of
the way down asks the kernel to be killed with its parent, the agent ends itself when the socket
closes, and with the agent, first in its pid namespace, ends all that it holds; the undertaker sees
to what is left.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from luminaguard.errors import GuestLost, VmError
from luminaguard.vm.backends.process.host import Bubblewrap
from luminaguard.vm.confinement.descent import descendants
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.guestprocesses import ENTER, GuestProcesses
from luminaguard.vm.linux import send_signal
from luminaguard.vm.room import SEEN_AT

_AGENT = (
    f"import sys; sys.path.insert(0, '{SEEN_AT}/agent'); "
    "from luminaguard_guest.process import main; main({uid}, copying={copying})"
)
_PASSAGE = "/tmp"  # noqa: S108 - a new, empty one, in a mount namespace of the machine's
"""Where a machine whose user may enter none of this user's directories finds what it is shown."""
_APART = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup")
_END_LIMIT_S = 10.0
_STILL_LIMIT_S = 5.0
_POLL_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to start."""

    bubblewrap: Bubblewrap
    name: str
    """The machine's; it carries the owner's mark into every command line."""
    root: Path
    shown: Path
    joins: tuple[str, ...]
    """Files of the machine's cgroup that take its first process."""
    namespace: int | None
    """Open user namespace to live in; None: one with this user alone is made."""
    command_uid: int
    copying: bool
    data_bytes: int | None
    """Memory of each process of its own, where no cgroup bounds them together."""


class Processes:
    """The processes of one machine."""

    def __init__(self, name: str, held: GuestProcesses) -> None:
        """Take over what was started; use `start`."""
        self.client = held.client
        self._name = name
        self._held = held
        self._agent: int | None = None

    @classmethod
    def start(cls, order: Order) -> "Processes":
        """Start them; the guest need not be up yet. From the event loop's own thread only.

        Raises:
            HypervisorUnavailable: a tool that starts it is missing.
        """
        return cls(order.name, GuestProcesses.start(command_line(order), "bubblewrap"))

    @property
    def pid(self) -> int:
        """Process id of the agent; of the way to it until `greet`."""
        return self._held.first if self._agent is None else self._agent

    @property
    def alive(self) -> bool:
        """Whether the outermost process, which ends with the agent, still runs."""
        return self._held.alive

    async def greet(self, limit_s: float) -> None:
        """Wait until the agent has answered, and take hold of it.

        Raises:
            BootTimeout: it did not within `limit_s`.
            GuestLost: it ended.
        """
        await self._held.greet(limit_s, "the agent")
        self._find()

    def _find(self) -> None:
        """Take hold of every process down to the agent.

        Raises:
            GuestLost: it is not there.
        """
        for pid in descendants(self._held.first):
            with suppress(ProcessLookupError):
                self._held.hold(pid)
                if _is_first_of_namespace(pid):
                    self._agent = pid
                    return
        raise GuestLost("the machine's processes are gone")

    async def pause(self) -> None:
        """Stop the agent and all that it holds.

        Raises:
            VmError: something would not stand still.
        """
        with anyio.move_on_after(_STILL_LIMIT_S):
            while moving := [pid for pid in self._inside() if _state(pid) not in {"T", "Z", "X"}]:
                send_signal(moving, "SIGSTOP")
                await anyio.sleep(_POLL_S)
            return
        raise VmError(f"the machine did not stop within {_STILL_LIMIT_S:.0f} s")

    async def resume(self) -> None:
        """Let them go on, the agent last."""
        send_signal(self._inside()[::-1], "SIGCONT")

    def _inside(self) -> list[int]:
        return [self.pid, *descendants(self.pid)]

    async def end(self) -> None:
        """Kill every process, and wait until they are gone. Idempotent."""
        if self._held.ended:
            return
        if self._agent is None:
            with suppress(GuestLost):
                self._find()
        await self._held.end()
        if self._agent is None:
            with anyio.move_on_after(_END_LIMIT_S):
                await self._end_marked()

    async def _end_marked(self) -> None:
        """End what was just being started, when nobody had hold of it yet."""
        while left := marked(self._name):
            send_signal(left, "SIGKILL")
            await anyio.sleep(_POLL_S)


def command_line(order: Order) -> list[str]:
    """Return the command line that starts a machine: each step becomes the next by exec."""
    bwrap = order.bubblewrap.path
    data = () if order.data_bytes is None else (f"--data={order.data_bytes}",)
    start = _AGENT.format(uid=order.command_uid, copying=order.copying)
    root, shown = order.root, order.shown
    if order.namespace is None:
        apart = [tool("unshare"), "--user", "--map-root-user", "--"]
    else:
        root, shown = Path(_PASSAGE, "root"), Path(_PASSAGE, "shown")
        apart = [
            *(bwrap, "--die-with-parent", "--dev-bind", "/", "/", "--tmpfs", _PASSAGE),
            *("--ro-bind", str(order.root), str(root), "--ro-bind", str(order.shown), str(shown)),
            # By this process's table: the machine shall not inherit it.
            *("--", tool("nsenter"), f"--user=/proc/{os.getpid()}/fd/{order.namespace}", "--"),
        ]
    return [
        *(tool("setpriv"), "--pdeathsig", "KILL", "--"),
        *(tool("prlimit"), "--core=0:0", *data, "--"),
        *("/bin/sh", "-c", ENTER, "sh", *order.joins, "--"),
        *apart,
        *(bwrap, *_APART, "--die-with-parent", "--new-session", "--as-pid-1"),
        *("--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin", "--setenv", "LANG", "C.UTF-8"),
        *("--hostname", "luminaguard", "--chdir", "/"),
        *("--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"),
        *("--ro-bind", str(shown), SEEN_AT, "--"),
        *("/usr/bin/python3", "-I", "-S", "-B", "-u", "-c", start, order.name),
    ]


def marked(name: str) -> list[int]:
    """Return the processes with this name in their command lines, but for this one."""
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with suppress(OSError):
                if name.encode() in Path("/proc", entry, "cmdline").read_bytes():
                    found.append(int(entry))
    return found


def _is_first_of_namespace(pid: int) -> bool:
    """Whether it has the number 1 in a pid namespace below this one: proc_pid_status(5), NSpid."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return len(numbers) > 1 and numbers[-1] == "1"
    return False


def _state(pid: int) -> str:
    """Return a process's state, "X" for one that is gone. Source: proc_pid_stat(5)."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return about.rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "X"
