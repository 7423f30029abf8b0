"""Starting one sandbox and ending it for certain: runsc, its gofer and its sentry.

The guest's channel is its standard input, one end of a socket pair: it has no name. Should this
process die, the kernel kills runsc (parent-death signal), which takes sentry and gofer along, and
the guest's agent ends itself when the socket closes; the undertaker sees to what is left.
"""

import os
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.errors import GuestLost, VmError
from luminaguard.vm.backends.gvisor.bundle import Bundle
from luminaguard.vm.backends.gvisor.runsc import Runsc
from luminaguard.vm.channel import Channel
from luminaguard.vm.confinement.cgroups.machine import MachineCgroup
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.confinement.jail import counts_apart
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.linux import kill_process, process_handle, quiet_pipe, user_id
from luminaguard.vm.owned import OwnedDirectory

_ENTER = (
    'for place do shift; [ "$place" = -- ] && break; echo 0 >"$place" 2>/dev/null; done; exec "$@"'
)
"""Into the cgroup before everything else; reading back finds what did not work."""
_APART = ("--pid", "--cgroup", "--mount-proc", "--fork", "--kill-child=KILL")
"""A pid namespace around all of runsc: under ptrace it makes none, and the namespace's end is
certain to be the end of everything in it."""
THREADS = 4096
"""On the host: the sentry's own, and under ptrace one for each of the guest's."""
_END_LIMIT_S = 10.0
_CONTROL_LIMIT_S = 20.0
_MESSAGE_BYTES = 4096
_SAFE_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to start."""

    runsc: Runsc
    platform: str
    home: OwnedDirectory
    """The machine's directory, whose name carries the owner's mark into every command line."""
    bundle: Bundle
    """What is in it."""
    cgroup: MachineCgroup

    @property
    def name(self) -> str:
        """The container's."""
        return self.home.path.name

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

    def __init__(
        self, order: Order, process: subprocess.Popen[bytes], client: GuestClient, messages: int
    ) -> None:
        """Take over a started runsc; use `start`."""
        self.client = client
        self.cgroup = order.cgroup
        self._order = order
        self._process = process
        self._messages = messages
        self._handles: dict[int, int] = {process.pid: process_handle(process.pid)}
        self._sentry = process.pid
        self._ended = False

    @classmethod
    def start(cls, order: Order) -> "Sandbox":
        """Start runsc; the guest need not be up yet. From the event loop's own thread only.

        Raises:
            HypervisorUnavailable: a tool that starts it is missing.
        """
        command = _command(order)
        agent, agent_end = socket.socketpair()
        client = GuestClient(Channel(agent))
        messages, messages_end = quiet_pipe()
        try:
            process = subprocess.Popen(
                command,
                stdin=agent_end.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=messages_end,
                env=_SAFE_PATH,
                cwd="/",
                start_new_session=True,
            )
        except OSError as problem:
            client.close()
            os.close(messages)
            raise VmError(f"runsc could not be started: {problem.strerror}") from problem
        finally:
            agent_end.close()
            os.close(messages_end)
        return cls(order, process, client, messages)

    @property
    def pid(self) -> int:
        """Process id of the sentry, the guest's kernel; of runsc until `find_processes`."""
        return self._sentry

    @property
    def alive(self) -> bool:
        """Whether runsc, which ends with its sandbox, still runs."""
        return not self._ended and self._process.poll() is None

    def find_processes(self) -> None:
        """Take hold of every process of the machine, and learn which is the sentry.

        Raises:
            GuestLost: it is not there.
        """
        for pid in _descendants(self._process.pid):
            with suppress(ProcessLookupError):
                if pid not in self._handles:
                    self._handles[pid] = process_handle(pid)
                if b"boot" in _arguments(pid):
                    self._sentry = pid
        if self._sentry == self._process.pid:
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
                    arguments, check=False, env=_SAFE_PATH, stdin=subprocess.DEVNULL
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
        children = _children(self._process.pid)
        if not children:
            raise GuestLost("the sandbox is gone")
        return children[0]

    def last_words(self) -> str:
        """Return the end of what runsc wrote."""
        said = b""
        with suppress(OSError):
            while piece := os.read(self._messages, _MESSAGE_BYTES):
                said = (said + piece)[-_MESSAGE_BYTES:]
        return said.decode(errors="replace").strip() or "it said nothing"

    async def end(self) -> None:
        """Kill every process, wait until they are gone, and remove what they left. Idempotent."""
        if self._ended:
            return
        self.client.close()
        with suppress(OSError, GuestLost):
            self.find_processes()
        for handle in self._handles.values():
            kill_process(handle)
        with anyio.move_on_after(_END_LIMIT_S):
            for handle in self._handles.values():
                await anyio.wait_readable(handle)
        self._ended = True
        self._process.poll()
        for handle in self._handles.values():
            os.close(handle)
        os.close(self._messages)
        await self.cgroup.remove()
        await run_sync(self._order.home.remove)


def _command(order: Order) -> list[str]:
    """Return the command line that starts a container: each step becomes the next by exec."""
    return [
        *(tool("setpriv"), "--pdeathsig", "KILL", "--"),
        *(tool("prlimit"), "--core=0:0", "--"),
        *("/bin/sh", "-c", _ENTER, "sh", *order.cgroup.joins, "--"),
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


def _descendants(parent: int) -> list[int]:
    found: list[int] = []
    waiting = [parent]
    while waiting:
        for child in _children(waiting.pop()):
            found.append(child)
            waiting.append(child)
    return found


def _children(parent: int) -> list[int]:
    """Return the children of all threads: runsc starts processes from any of them."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{parent}/task"):
            with suppress(OSError):
                text = Path(f"/proc/{parent}/task/{thread}/children").read_text(encoding="ascii")
                found.extend(int(pid) for pid in text.split())
    return found


def _arguments(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []
