"""One VZVirtualMachine: every operation on its queue, every wait bounded, its end noticed."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import anyio

from luminaguard.errors import GuestLost
from luminaguard.vm.backends.apple.framework import (
    Completion,
    Configuration,
    Framework,
    Machine,
    NSError,
    SocketConnection,
)
from luminaguard.vm.backends.apple.work import Refused, WorkQueue

_START_LIMIT_S = 20.0
_CHANGE_LIMIT_S = 10.0
_SAVE_LIMIT_S = 60.0
_RETRY_S = 0.01


class MachineHandle:
    """A machine that macOS runs for this process, in a process of its own that ends with ours."""

    def __init__(self, framework: Framework, queue: WorkQueue, machine: Machine) -> None:
        """Take over a made machine; use `make`."""
        self._framework = framework
        self._queue = queue
        self._machine = machine
        self._delegate = framework.make_delegate(self._ended)
        self._was_begun = False
        self.why_ended: str | None = None
        """Set once the machine has ended, whoever ended it."""

    @classmethod
    async def make(
        cls, framework: Framework, configuration: Configuration, name: str
    ) -> "MachineHandle":
        """Make a machine that does not run yet."""
        queue = WorkQueue(framework, f"luminaguard.{name}")

        def make() -> MachineHandle:
            machine = framework.vz.VZVirtualMachine.alloc().initWithConfiguration_queue_(
                configuration, queue.handle
            )
            handle = cls(framework, queue, machine)
            machine.setDelegate_(handle._delegate)  # the framework itself holds it only weakly
            return handle

        return await queue.do(make)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.why_ended is None

    async def start(self) -> None:
        """Boot."""
        await self._begin("start", self._machine.startWithCompletionHandler_, _START_LIMIT_S)

    async def pause(self) -> None:
        """Stop its processors."""
        await self._ask("pause", self._machine.pauseWithCompletionHandler_, _CHANGE_LIMIT_S)

    async def resume(self) -> None:
        """Let its processors go on."""
        await self._ask("resume", self._machine.resumeWithCompletionHandler_, _CHANGE_LIMIT_S)

    async def save(self, path: Path) -> None:
        """Write the paused machine's state to a new file."""
        url = self._framework.url(str(path))

        def begin(done: Completion) -> None:
            self._machine.saveMachineStateToURL_completionHandler_(url, done)

        await self._ask("save", begin, _SAVE_LIMIT_S)

    async def restore(self, path: Path) -> None:
        """Read a saved state; the machine is paused afterwards."""
        url = self._framework.url(str(path))

        def begin(done: Completion) -> None:
            self._machine.restoreMachineStateFromURL_completionHandler_(url, done)

        await self._begin("restore", begin, _SAVE_LIMIT_S)

    async def connect(self, port: int, *, limit_s: float) -> socket.socket:
        """Return a connection to a port on which the guest listens, once it does.

        Raises:
            GuestLost: it does not listen in time, or the machine has ended.
        """
        with anyio.move_on_after(limit_s):
            while self.alive:
                try:
                    return await self._connect_once(port)
                except Refused:  # nobody listens there yet
                    await anyio.sleep(_RETRY_S)
        if self.alive:
            raise GuestLost(f"the guest agent did not listen within {limit_s:g} s")
        raise GuestLost(f"the machine ended: {self.why_ended}")

    async def _connect_once(self, port: int) -> socket.socket:
        made: list[socket.socket] = []

        def begin(done: Completion) -> None:
            def connected(connection: SocketConnection | None, error: NSError | None) -> None:
                if connection is not None:
                    made.append(_own_socket(connection))
                done(error)

            self._machine.socketDevices()[0].connectToPort_completionHandler_(port, connected)

        await self._ask("connect to", begin, _CHANGE_LIMIT_S)
        return made[0]

    async def end(self) -> None:
        """Stop it for good, as if its plug were pulled. Idempotent.

        Raises:
            VmError: macOS did not stop it.
        """
        if not (self.alive and self._was_begun):  # macOS refuses to stop what never ran
            self._ended("it was stopped")
            return
        try:
            await self._ask("stop", self._machine.stopWithCompletionHandler_, _CHANGE_LIMIT_S)
        except Refused:
            if self.alive:  # otherwise it ended by itself meanwhile
                raise
        self._ended("it was stopped")

    async def _begin(self, what: str, begin: Callable[[Completion], None], limit_s: float) -> None:
        """Ask for what makes a machine run; one that was refused it does not."""
        self._was_begun = True
        try:
            await self._ask(what, begin, limit_s)
        except Refused:
            self._was_begun = False
            raise

    def _ended(self, why: str) -> None:
        if self.why_ended is None:
            self.why_ended = why

    async def _ask(self, what: str, begin: Callable[[Completion], None], limit_s: float) -> None:
        if not self.alive:
            raise GuestLost(f"the machine ended: {self.why_ended}")
        await self._queue.ask(what, begin, limit_s=limit_s)


def _own_socket(connection: SocketConnection) -> socket.socket:
    """Return a socket of our own, the only one left: the guest is to notice when it is closed."""
    family = getattr(socket, "AF_UNIX", socket.AF_INET)
    fd = os.dup(connection.fileDescriptor())
    connection.close()
    return socket.socket(family, socket.SOCK_STREAM, fileno=fd)
