"""Processes of the host that carry a guest: started, held by handles, ended for certain.

The guest's channel is the standard input of the first, one end of a socket pair: it has no name. A
backend finds the others, and says what else must end with them.
"""

import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import anyio

from luminaguard.errors import BootTimeout, GuestLost, VmError
from luminaguard.vm.channel import Channel
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.linux import kill_process, process_handle, quiet_pipe

SAFE_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
"""Environment of programs that are started for a machine."""
ENTER = (
    'for place do shift; [ "$place" = -- ] && break; echo 0 >"$place" 2>/dev/null; done; exec "$@"'
)
"""Shell script: into the cgroup by the files named up to "--", then go on as what follows.

A step that fails is not the end: reading back finds what did not work.
"""
_END_LIMIT_S = 10.0
_MESSAGE_BYTES = 4096


class GuestProcesses:
    """The processes of one machine."""

    def __init__(self, first: subprocess.Popen[bytes], client: GuestClient, messages: int) -> None:
        """Take over what was started; use `start`."""
        self.client = client
        self._first = first
        self._messages = messages
        self._handles: dict[int, int] = {first.pid: process_handle(first.pid)}
        self._ended = False

    @classmethod
    def start(cls, command: Sequence[str], program: str) -> "GuestProcesses":
        """Start them; the guest need not be up yet. From the event loop's own thread only.

        Args:
            command: Command line of the first.
            program: What a failure calls it.

        Raises:
            VmError: it could not be started.
        """
        agent, agent_end = socket.socketpair()
        client = GuestClient(Channel(agent))
        messages, messages_end = quiet_pipe()
        try:
            first = subprocess.Popen(
                command,
                stdin=agent_end.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=messages_end,
                env=SAFE_PATH,
                cwd="/",
                start_new_session=True,
            )
        except OSError as problem:
            client.close()
            os.close(messages)
            raise VmError(f"{program} could not be started: {problem.strerror}") from problem
        finally:
            agent_end.close()
            os.close(messages_end)
        return cls(first, client, messages)

    @property
    def first(self) -> int:
        """Process id of the outermost one, which ends with the guest."""
        return self._first.pid

    @property
    def alive(self) -> bool:
        """Whether the outermost one still runs."""
        return not self._ended and self._first.poll() is None

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def hold(self, pid: int) -> None:
        """Take hold of one more.

        Raises:
            ProcessLookupError: it is gone.
        """
        if pid not in self._handles:
            self._handles[pid] = process_handle(pid)

    async def greet(self, limit_s: float, guest: str) -> None:
        """Wait until the guest has answered; `guest`: what a failure calls it.

        Raises:
            BootTimeout: it did not within `limit_s`.
            GuestLost: it ended; the message has its last words.
        """
        try:
            await self.client.hello(limit_s)
        except GuestLost as lost:
            words = self.last_words()
            if self.alive:
                raise BootTimeout(f"{guest} did not answer: {words}") from lost
            raise GuestLost(f"{guest} did not start: {words}", words=words) from lost

    def last_words(self) -> str:
        """Return the end of what they wrote to standard error."""
        said = b""
        with suppress(OSError):
            while piece := os.read(self._messages, _MESSAGE_BYTES):
                said = (said + piece)[-_MESSAGE_BYTES:]
        return said.decode(errors="replace").strip() or "it said nothing"

    async def end(self) -> None:
        """Kill all that are held, and wait, bounded, until they are gone. Idempotent."""
        if self._ended:
            return
        self._ended = True
        self.client.close()
        for handle in reversed(self._handles.values()):  # the innermost first: it takes all along
            kill_process(handle)
        with anyio.move_on_after(_END_LIMIT_S):
            for handle in self._handles.values():
                await anyio.wait_readable(handle)
        self._first.poll()
        for handle in self._handles.values():
            os.close(handle)
        os.close(self._messages)
