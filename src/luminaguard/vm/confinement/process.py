"""One running QEMU: started confined, watched by handle, ended for certain.

The start leaves nothing with a name: sockets are pairs, files are inherited. If this process dies,
the kernel kills the confinement's monitor and QEMU with it (parent-death signal of the thread that
started them, which is the event loop's own); `undertaker.py` covers the first milliseconds.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import anyio

from luminaguard.errors import GuestLost, VmError
from luminaguard.vm.confinement.jail import Confinement, confined
from luminaguard.vm.confinement.syscalls import filter_file
from luminaguard.vm.linux import kill_process, process_handle, quiet_pipe

_START_LIMIT_S = 20.0
_END_LIMIT_S = 10.0
_MESSAGE_BYTES = 4096
_REPORT_BYTES = 4096
_TICKS_PER_S = 100
"""What the kernel counts CPU time in, towards programs. Source: time(7), "USER_HZ"."""


class VmmProcess:
    """A QEMU and the monitor process that confines it."""

    def __init__(self, monitor: subprocess.Popen[bytes], messages: int) -> None:
        """Take over a started monitor and the pipe of its messages; use `start` instead."""
        self._monitor = monitor
        self._messages = messages
        self._said = b""
        self._ended = False
        self._monitor_handle = process_handle(monitor.pid)
        self._handle: int | None = None
        self._first = monitor.pid
        self.pid = monitor.pid
        """QEMU's own; known for certain once `find_program` was called."""

    @classmethod
    async def start(
        cls, command: Sequence[str], confinement: Confinement, inherited: Sequence[int]
    ) -> "VmmProcess":
        """Start `command` confined; returns once its process exists.

        Raises:
            GuestLost: the confinement could not be set up; the message holds the reason given.
        """
        report, report_end = os.pipe()
        try:
            process = cls._spawn(command, confinement, inherited, report_end)
        except BaseException as problem:
            os.close(report)
            if isinstance(problem, OSError):
                raise VmError(f"QEMU could not be started: {problem.strerror}") from problem
            raise
        finally:
            os.close(report_end)
        try:
            # Not to be cancelled half way: what is not known yet cannot be ended for certain.
            with anyio.fail_after(_START_LIMIT_S, shield=True):
                await process.identify(report, reported=confinement.namespaces)
        except BaseException as problem:
            with anyio.CancelScope(shield=True):
                await process.end()
            if isinstance(problem, TimeoutError):
                raise GuestLost("QEMU's confinement was not set up in time") from problem
            raise
        finally:
            os.close(report)
        return process

    @classmethod
    def _spawn(
        cls,
        command: Sequence[str],
        confinement: Confinement,
        inherited: Sequence[int],
        report_end: int,
    ) -> "VmmProcess":
        messages, messages_end = quiet_pipe()
        calls = filter_file()
        arguments, environment = confined(
            command, confinement, report_fd=report_end, filter_fd=calls
        )
        try:
            monitor = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages_end,
                env=environment,
                cwd="/",
                start_new_session=True,  # a Ctrl-C on the terminal is for LuminaGuard to act on
                pass_fds=(*inherited, report_end, *(() if calls is None else (calls,))),
            )
        except OSError:
            os.close(messages)
            raise
        finally:
            os.close(messages_end)
            if calls is not None:
                os.close(calls)
        return cls(monitor, messages)

    async def identify(self, report: int, *, reported: bool) -> None:
        """Learn QEMU's process id from its confinement's report, and take hold of it.

        Raises:
            GuestLost: it ended before it was there.
        """
        if reported:
            text = b""
            while piece := await _read(report):
                text += piece
                if len(text) > _REPORT_BYTES:
                    raise GuestLost("the confinement's report is too long")
            try:
                self._first = self.pid = cast("dict[str, int]", json.loads(text))["child-pid"]
            except (ValueError, KeyError) as problem:
                raise await self._never_started() from problem
        try:
            self._handle = process_handle(self._first)
        except ProcessLookupError as problem:
            raise await self._never_started() from problem

    def find_program(self) -> None:
        """Learn QEMU's own process id, once it is running.

        Raises:
            GuestLost: it is gone.
        """
        if os.path.basename(_program_of(self._first)) != "bwrap":
            return
        children = _children_of(self._first)
        if len(children) != 1:
            raise GuestLost("QEMU is gone")
        self.pid = children[0]

    async def _never_started(self) -> GuestLost:
        words = await self.last_words()
        return GuestLost(f"QEMU was not started: {words}", words=words)

    @property
    def alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self._monitor.poll() is None

    def cpu_s(self) -> float:
        """Return the CPU time that QEMU has used; 0 once it is gone.

        Source: proc_pid_stat(5), fields 14 and 15.
        """
        try:
            with open(f"/proc/{self.pid}/stat", encoding="utf-8", errors="replace") as source:
                fields = source.read().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    async def last_words(self) -> str:
        """Return the end of what QEMU and its confinement wrote, after waiting for their end."""
        if not self._ended:
            await self._gone()
            self._said = self._read_messages()
        return self._said.decode(errors="replace").strip() or "it said nothing"

    async def end(self) -> None:
        """Kill the process and wait until the kernel has taken it down. Idempotent."""
        if self._ended:
            return
        if self._handle is not None:
            kill_process(self._handle)
        else:
            self._monitor.kill()
        await self._gone()
        if self._monitor.poll() is None:
            self._monitor.kill()
            await self._gone()
        self._said = self._read_messages()
        self._close()

    async def _gone(self) -> None:
        """Wait, bounded, until QEMU's process and its monitor have ended."""
        with anyio.move_on_after(_END_LIMIT_S):
            if self._handle is not None:
                await anyio.wait_readable(self._handle)
            await anyio.wait_readable(self._monitor_handle)
        self._monitor.poll()

    def _read_messages(self) -> bytes:
        said = self._said
        with suppress(BlockingIOError):
            while piece := os.read(self._messages, _MESSAGE_BYTES):
                said = (said + piece)[-_MESSAGE_BYTES:]
        return said

    def _close(self) -> None:
        self._ended = True
        for fd in (self._messages, self._monitor_handle, self._handle):
            if fd is not None:
                os.close(fd)


def _children_of(parent: int) -> list[int]:
    try:
        with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as source:
            return [int(pid) for pid in source.read().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        everyone = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return [pid for pid in everyone if _parent_of(pid) == parent]


def _parent_of(pid: int) -> int | None:
    """Return the parent's process id. Source: proc_pid_stat(5), field 4."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return int(source.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):  # it ended meanwhile
        return None


def _program_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as source:
            return source.read().partition("\0")[0]
    except OSError as problem:
        raise GuestLost("QEMU is gone") from problem


async def _read(pipe: int) -> bytes:
    await anyio.wait_readable(pipe)
    return os.read(pipe, _REPORT_BYTES)
