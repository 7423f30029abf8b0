"""A running command as the agent sees it: its three pipes, its time limit, its end."""

import os
import selectors
import time
from contextlib import suppress
from typing import Protocol

from luminaguard_guest.port import Port
from luminaguard_guest.wire import (
    CHUNK_BYTES,
    STDIN_WINDOW_BYTES,
    Execute,
    Failed,
    Finished,
    Output,
    Stdin,
    StdinTaken,
)


class Killer(Protocol):
    """Ends the command of a request."""

    def __call__(self, request_id: int) -> None:
        """Kill it; its end is told as any other."""
        ...


class Call:
    """One command's streams between the port and its pipes."""

    def __init__(
        self, request_id: int, request: Execute, port: Port, events: selectors.BaseSelector
    ) -> None:
        """Make the pipes; `stdio` are the command's ends of them."""
        self._id = request_id
        self._port = port
        self._events = events
        self._input = bytearray()
        self._input_ends = not request.has_stdin
        self._stdin_fd: int | None = None
        self._readable: dict[int, int] = {}
        self._reading = False
        self._end: Finished | None = None
        self._timed_out = False
        self.deadline_s: float | None = time.monotonic() + request.timeout_ms / 1000
        self.stdio: list[int] = []
        try:
            self._open(has_stdin=request.has_stdin)
        except OSError:
            self.close()
            raise

    def _open(self, *, has_stdin: bool) -> None:
        if has_stdin:
            read_fd, self._stdin_fd = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._stdin_fd, False)
        else:
            read_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.stdio.append(read_fd)
        for stream in (1, 2):
            read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read_fd, False)
            self._readable[read_fd] = stream
            self.stdio.append(write_fd)
        self.resume()

    def started(self) -> None:
        """Close the command's ends of the pipes: it has them now."""
        for descriptor in self.stdio:
            os.close(descriptor)
        self.stdio.clear()

    def resume(self) -> None:
        """Read output again."""
        if not self._reading:
            self._reading = True
            for descriptor in self._readable:
                self._events.register(descriptor, selectors.EVENT_READ, self._read)

    def pause(self) -> None:
        """Let output wait in its pipes: the host does not keep up."""
        if self._reading:
            self._reading = False
            for descriptor in self._readable:
                self._events.unregister(descriptor)

    def _read(self, descriptor: int) -> None:
        stream = self._readable[descriptor]
        try:
            content = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return
        if content:
            self._port.say(self._id, Output(stream, content))
            return
        self._events.unregister(descriptor)
        del self._readable[descriptor]
        os.close(descriptor)

    def feed(self, message: Stdin) -> None:
        """Take input for the command. The host keeps to the window; more than that is dropped."""
        if self._input_ends:
            return
        room = STDIN_WINDOW_BYTES - len(self._input)
        self._input += message.content[:room]
        self._input_ends = message.last
        if self._stdin_fd is not None:
            self._write(self._stdin_fd)

    def _write(self, descriptor: int) -> None:
        taken = len(self._input)
        try:
            if self._input:
                taken = os.write(descriptor, self._input)
        except BlockingIOError:
            taken = 0
        except OSError:
            # The command reads no more: what is still to come is taken and forgotten.
            self._drop_stdin()
        del self._input[:taken]
        if taken:
            self._port.say(self._id, StdinTaken(taken))
        if self._stdin_fd is not None:
            self._watch_stdin(self._stdin_fd)

    def _watch_stdin(self, descriptor: int) -> None:
        watched = descriptor in self._events.get_map()
        if self._input and not watched:
            self._events.register(descriptor, selectors.EVENT_WRITE, self._write)
        elif not self._input and watched:
            self._events.unregister(descriptor)
        if self._input_ends and not self._input:
            self._drop_stdin()

    def _drop_stdin(self) -> None:
        if self._stdin_fd is not None:
            with suppress(KeyError):
                self._events.unregister(self._stdin_fd)
            os.close(self._stdin_fd)
            self._stdin_fd = None

    def expire(self, now_s: float, kill: Killer) -> None:
        """Kill the command if its time is up."""
        if self.deadline_s is not None and now_s >= self.deadline_s:
            self.deadline_s = None
            self._timed_out = True
            kill(self._id)

    def finished(self, end: Finished) -> None:
        """Take note of the end; it is told when all output was read."""
        self.deadline_s = None
        if self._timed_out and end.ended != "not-started":
            end = Finished("timed-out", 124, 0, end.leftover)
        self._end = end

    def tell(self) -> bool:
        """Tell the host if all is over; True if it is."""
        if self._end is None or self._readable:
            return False
        self.close()
        self._port.say(self._id, self._end)
        return True

    def failed(self, reason: str) -> None:
        """Tell the host that the command could not be started."""
        self.close()
        self._port.say(self._id, Failed(reason))

    def close(self) -> None:
        """Close every descriptor."""
        self.pause()
        self.started()
        self._drop_stdin()
        for descriptor in self._readable:
            os.close(descriptor)
        self._readable.clear()
