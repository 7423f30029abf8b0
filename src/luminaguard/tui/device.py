"""The terminal as the screen draws on it: a device that never makes its writer wait for long.

Frames for a terminal that takes none (a connection that hangs, a suspended window) are dropped
after a moment, and the whole screen is drawn again once it takes them.
"""

import os
import select
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE_S = 2.0
"""A terminal that takes nothing for so long is held to be stalled."""
_CANCEL = b"\x18"
"""Ends a control sequence that was written in part (ECMA-48: CAN)."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(slots=True, kw_only=True)
class TerminalFile:
    """Written by one thread, looked at by others. The descriptor must be non-blocking."""

    fd: int
    on_recovered: Callable[[], None] = _nothing
    """Called by the writing thread once a stalled terminal takes output again."""
    on_lost: Callable[[], None] = _nothing
    """Called by the writing thread once, when the terminal is gone."""
    patience_s: float = PATIENCE_S
    is_stalled: bool = field(default=False, init=False)
    """What was written last has not reached the terminal."""
    is_lost: bool = field(default=False, init=False)
    written: int = field(default=0, init=False)
    """Calls of `write` that have ended."""

    def write(self, text: str) -> int:
        """Write text, or drop it if the terminal is stalled or gone."""
        try:
            if not self.is_lost:
                self._write(text.encode("utf-8", "backslashreplace"))
        except OSError:
            self.is_lost = True
            self.on_lost()
        finally:
            self.written += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: each write goes out at once."""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.fd

    def isatty(self) -> bool:
        """Return that it is a terminal."""
        return True

    def _write(self, content: bytes) -> None:
        if self.is_stalled:
            if not self._takes_output(0.0):
                return
            self.is_stalled = False
            self.on_recovered()
            content = _CANCEL + content
        pending = memoryview(content)
        while pending:
            if not self._takes_output(self.patience_s):
                self.is_stalled = True
                return
            try:
                pending = pending[os.write(self.fd, pending[:4096]) :]
            except BlockingIOError:
                continue

    def _takes_output(self, at_most_s: float) -> bool:
        return bool(select.select([], [self.fd], [], at_most_s)[1])
