"""One command of the box, from its fork until nothing of it is left."""

import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from luminaguard_guest import boxwire
from luminaguard_guest.boxwire import TO_CHILD, Become
from luminaguard_guest.wire import Execute, Finished

_PARTING_S = 0.1
"""What processes get to end by themselves once the command ended: the writer of a pipe whose reader
has just gone is not something that was left behind."""

_DYING_S = 5.0
"""Longest that killed processes may take to be gone."""

_NAMES = 32


class Group(Protocol):
    """What holds one command's processes, so that none can get away."""

    @property
    def members_fd(self) -> int:
        """What a process writes "0" to, to be in it."""
        ...

    def members(self) -> list[int]:
        """Return the processes in it, without those that are only to be reaped."""
        ...

    def is_empty(self) -> bool:
        """Whether nothing in it lives."""
        ...

    def kill(self) -> None:
        """Kill everything in it."""
        ...

    def give_back(self) -> None:
        """Free it, empty, for another command."""
        ...


class Groups(Protocol):
    """Where they come from."""

    def take(self) -> Group:
        """Return an empty one."""
        ...


class Command:
    """Its main process, its cgroup, and how it ended."""

    def __init__(self, pid: int, connection: socket.socket, group: Group) -> None:
        """Watch over a child that waits for its program; see `start`."""
        self.pid = pid
        self.group = group
        self.deadline_s: float | None = None
        """When to look again without being woken by a signal; None: not needed."""
        self._connection = connection
        self._status: int | None = None
        self._leftover: tuple[bytes, ...] = ()
        self._killed = False

    def start(self, request: Execute, stdio: Sequence[int]) -> None:
        """Tell the child its program. `stdio` stays the caller's to close."""
        program = Become(request.argv, request.code, request.cwd, request.env)
        # A child that is gone already, or dies of what it is told, is noticed when it is reaped.
        with suppress(BrokenPipeError, ConnectionResetError):
            boxwire.send(self._connection, TO_CHILD, 0, program, *stdio, self.group.members_fd)

    def kill(self) -> None:
        """Kill the main process, which may not be in its cgroup yet, and everything in it."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.group.kill()

    def ended(self, status: int) -> None:
        """Take note that the main process is gone; `status` as from waitpid."""
        self._status = status
        self.deadline_s = time.monotonic() + _PARTING_S

    def finish(self) -> Finished | None:
        """Move towards the end; return it once nothing is left."""
        if self._status is None:
            return None
        if not self.group.is_empty():
            now_s = time.monotonic()
            if self.deadline_s is None or now_s >= self.deadline_s:
                self._kill_leftover(now_s)
            return None
        return self._finished(self._status)

    def _kill_leftover(self, now_s: float) -> None:
        if not self._killed:
            self._leftover = tuple(_names(self.group.members()))
            self._killed = True
        self.group.kill()
        self.deadline_s = now_s + _DYING_S

    def _finished(self, status: int) -> Finished:
        if self._was_refused():
            return Finished("not-started", os.waitstatus_to_exitcode(status), 0, ())
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return Finished("signaled", 0, number, self._leftover)
        return Finished("exited", os.WEXITSTATUS(status), 0, self._leftover)

    def _was_refused(self) -> bool:
        with self._connection:
            try:
                return bool(self._connection.recv(1, socket.MSG_DONTWAIT))
            except OSError:
                return False


def _names(pids: Sequence[int]) -> list[bytes]:
    names: list[bytes] = []
    for pid in pids[:_NAMES]:
        with suppress(OSError), open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
            names.append(file.read().rstrip(b"\n"))
    return names
