"""One command of the box, from its fork until nothing of it is left."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from luminaguard_guest import child
from luminaguard_guest.cgroups import CallGroup
from luminaguard_guest.wire import Execute, Finished

_PARTING_S = 0.1
"""What processes get to end by themselves once the command ended: the writer of a pipe whose reader
has just gone is not something that was left behind."""

_DYING_S = 5.0
"""Longest that killed processes may take to be gone."""

_NAMES = 32


class Command:
    """Its main process, its cgroup, and how it ended."""

    def __init__(self, pid: int, group: CallGroup, refused_fd: int) -> None:
        """Watch over a process that was just started; see `start`."""
        self.pid = pid
        self.group = group
        self.deadline_s: float | None = None
        """When to look again without being woken by a signal; None: not needed."""
        self._refused_fd = refused_fd
        self._status: int | None = None
        self._leftover: tuple[bytes, ...] = ()
        self._killed = False

    @classmethod
    def start(cls, request: Execute, group: CallGroup, stdio: Sequence[int]) -> "Command":
        """Fork the command. `stdio` stays the caller's to close."""
        program = child.Program(
            argv=request.argv,
            code=request.code,
            cwd=request.cwd,
            env=child.environment(request.env),
        )
        refused_read, refused_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            pid = os.fork()
        except OSError:
            os.close(refused_read)
            os.close(refused_write)
            raise
        if pid == 0:
            try:
                child.become(program, group, stdio, refused_write)
            finally:
                os._exit(child.NOT_RUNNABLE)
        os.close(refused_write)
        return cls(pid, group, refused_read)

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
        with suppress(BlockingIOError):
            if os.read(self._refused_fd, 1):
                os.close(self._refused_fd)
                return Finished("not-started", os.waitstatus_to_exitcode(status), 0, ())
        os.close(self._refused_fd)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return Finished("signaled", 0, number, self._leftover)
        return Finished("exited", os.WEXITSTATUS(status), 0, self._leftover)


def _names(pids: Sequence[int]) -> list[bytes]:
    names: list[bytes] = []
    for pid in pids[:_NAMES]:
        with suppress(OSError), open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
            names.append(file.read().rstrip(b"\n"))
    return names
