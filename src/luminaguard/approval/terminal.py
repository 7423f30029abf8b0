"""A terminal opened for asking: single keys in, screen lines out, every wait bounded.

It is opened by its own path, never through standard input, so neither a pipe nor a redirected
file can answer. All waiting happens in one place that also watches a wake-up descriptor and the
time left; the terminal's mode is restored whatever happens.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from luminaguard.errors import ApprovalError

if sys.platform != "win32":
    import termios

LONGEST_WAIT_S = 1.0
"""The time left is looked at again at least this often: the clock may have been set."""


class Woken(Exception):
    """Somebody else ended the wait: the question is withdrawn."""


class TimeIsUp(Exception):
    """No time is left."""


class TerminalLost(ApprovalError):
    """The terminal was closed, or the connection to it."""

    code = "terminal-lost"


class Terminal:
    """An open terminal in single-key mode: no echo, no line editing, no signal keys."""

    def __init__(self, fd: int, wake_fd: int, left_s: Callable[[], float]) -> None:
        """Wrap a non-blocking descriptor; see `open_terminal`."""
        self._fd = fd
        self._wake_fd = wake_fd
        self._left_s = left_s

    def read(self, at_most_s: float) -> bytes:
        """Return what was typed, all that is there; nothing if `at_most_s` pass first.

        Raises:
            TerminalLost: nobody can type any more.
            TimeIsUp: the time left ran out.
            Woken: the question is withdrawn.
        """
        while self.wait(self._fd, at_most_s=at_most_s):
            with suppress(BlockingIOError), _losing():
                typed = os.read(self._fd, 4096)
                if not typed:
                    raise TerminalLost("the terminal was closed")
                return typed
        return b""

    def write(self, text: str) -> None:
        """Show text; raises as `read` does, also while the terminal is held by Ctrl-S."""
        pending = memoryview(text.encode("utf-8", "backslashreplace"))
        while pending:
            self.wait(to_write=self._fd)
            with suppress(BlockingIOError), _losing():
                pending = pending[os.write(self._fd, pending[:4096]) :]

    def say_at_once(self, text: str) -> None:
        """Show a last word if the terminal takes it without waiting."""
        with suppress(OSError):
            os.write(self._fd, text.encode("utf-8", "backslashreplace"))

    def wait(
        self, to_read: int | None = None, to_write: int | None = None, at_most_s: float = 3600.0
    ) -> bool:
        """Wait for a descriptor; returns whether it is ready. Raises as `read` does."""
        end = time.monotonic() + at_most_s
        reading = [self._wake_fd] if to_read is None else [self._wake_fd, to_read]
        writing = [] if to_write is None else [to_write]
        while True:
            left = self._left_s()
            if left <= 0:
                raise TimeIsUp
            span = max(0.0, min(left, LONGEST_WAIT_S, end - time.monotonic()))
            with _losing():
                readable, writable, _ = select.select(reading, writing, [], span)
            if self._wake_fd in readable:
                raise Woken
            if writable or readable:
                return True
            if time.monotonic() >= end:
                return False

    def forget_typed(self) -> None:
        """Throw away what was typed and not yet read."""
        if sys.platform == "win32":
            raise _unsupported()
        with _losing():
            termios.tcflush(self._fd, termios.TCIFLUSH)

    @contextmanager
    def single_keys(self) -> Generator[None]:
        """Deliver each key as it is pressed, unseen; the old mode returns at the end."""
        if sys.platform == "win32":
            raise _unsupported()
        with _losing():
            old = termios.tcgetattr(self._fd)
            mode = termios.tcgetattr(self._fd)
        mode[0] |= termios.ICRNL
        mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        try:
            with _losing():
                termios.tcsetattr(self._fd, termios.TCSANOW, mode)
            yield
        finally:
            with suppress(termios.error, OSError):
                termios.tcsetattr(self._fd, termios.TCSANOW, old)

    def size(self) -> tuple[int, int]:
        """Return columns and rows, 80 by 24 where the terminal does not know."""
        try:
            found = os.get_terminal_size(self._fd)
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24


@contextmanager
def open_terminal(path: str, *, wake_fd: int, left_s: Callable[[], float]) -> Generator[Terminal]:
    """Open a terminal by its path.

    Args:
        path: "/dev/tty" for the controlling terminal.
        wake_fd: A descriptor that becomes readable when the question is withdrawn.
        left_s: Seconds until the question expires.

    Raises:
        ApprovalError: there is no terminal at that path.
    """
    fd = _open(path, blocking=False)
    try:
        yield Terminal(fd, wake_fd, left_s)
    finally:
        os.close(fd)


def open_unblocking(path: str) -> int:
    """Open a terminal whose reads and writes never wait; the caller closes it.

    Raises:
        ApprovalError: there is no terminal at that path.
    """
    return _open(path, blocking=False)


def open_for_program(path: str) -> int:
    """Open a terminal for another program to use; the caller closes it."""
    return _open(path, blocking=True)


def has_terminal(path: str = "/dev/tty") -> bool:
    """Return whether somebody can be asked there."""
    try:
        os.close(_open(path, blocking=True))
    except ApprovalError:
        return False
    return True


def mode_of(fd: int) -> list[Any] | None:
    """Return a terminal's mode; None when it cannot be had."""
    if sys.platform == "win32":
        return None
    with suppress(termios.error, OSError):
        return termios.tcgetattr(fd)
    return None


def set_mode(fd: int, mode: list[Any] | None) -> None:
    """Put a terminal into a mode that `mode_of` returned; nothing if it is gone."""
    if sys.platform != "win32" and mode is not None:
        with suppress(termios.error, OSError):
            termios.tcsetattr(fd, termios.TCSANOW, mode)


def proof_of(path: str) -> str:
    """Return how the human at a terminal is known, for the record."""
    where = "controlling terminal" if path == "/dev/tty" else f"terminal {path}"
    return where if sys.platform == "win32" else f"{where}, uid {os.getuid()}"


def _open(path: str, *, blocking: bool) -> int:
    if sys.platform == "win32":
        raise _unsupported()
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags if blocking else flags | os.O_NONBLOCK)
    except OSError as error:
        raise ApprovalError(
            f"there is no terminal to ask on ({path}: {error.strerror})",
            hint="run it on a terminal, or choose another --approver",
        ) from error
    if not os.isatty(fd):
        os.close(fd)
        raise ApprovalError(f"{path} is not a terminal")
    return fd


@contextmanager
def _losing() -> Generator[None]:
    """Translate the errors of a closed terminal."""
    if sys.platform == "win32":
        raise _unsupported()
    try:
        yield
    except BlockingIOError:
        raise
    except (OSError, termios.error) as error:
        raise TerminalLost(f"the terminal was closed ({error})") from error


def _unsupported() -> ApprovalError:
    return ApprovalError(
        "asking on a terminal is not supported on this platform yet",
        hint="choose another --approver",
    )
