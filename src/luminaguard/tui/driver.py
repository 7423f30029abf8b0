"""How the toolkit talks to the terminal: by its own path, not by standard input and error.

So what is piped into a command cannot answer for its user, and redirected output does not end up
in a picture. A closed terminal is told to the app, never taken for an answer.
"""

import os
import select
import signal
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from luminaguard.approval.terminal import mode_of, open_unblocking, set_mode
from luminaguard.tui.device import TerminalFile

if TYPE_CHECKING:
    from textual.app import App

_SIGNALS = ("SIGTSTP", "SIGCONT", "SIGWINCH")
"""The toolkit handles these while it runs; whoever did before does so again afterwards."""
_LOOK_AGAIN_S = 0.1
_FULL_SCREEN = "\x1b[?1049h\x1b[?25l"
"""The alternate screen, without a cursor. Source: xterm control sequences, DECSET."""
ASK_CURSOR = "\x1b[6n"
"""Device status report: the terminal answers once it has come to this in its input.
Source: ECMA-48 §8.3.35 (DSR), parameter 6."""


class TtyDriver(LinuxDriver):
    """Reads keys from, and draws on, the terminal at the app's `terminal_path`."""

    def __init__(
        self,
        app: "App[Any]",
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Open the terminal.

        Raises:
            ApprovalError: there is no terminal at that path.
        """
        self._before = {name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS}
        _give_standard_input()
        super().__init__(app, debug=debug, mouse=mouse, size=size)  # pyright: ignore[reportUnknownMemberType]
        self.fileno = open_unblocking(str(getattr(app, "terminal_path", "/dev/tty")))
        self.input_tty = True
        self.device = TerminalFile(
            fd=self.fileno,
            on_recovered=lambda: self._tell("terminal_recovered"),
            on_lost=lambda: self._tell("terminal_lost"),
        )
        self._file = cast("Any", self.device)
        self._is_lent = False
        self._sent = 0
        self._own_mode: list[Any] | None = None
        self._counting = Lock()

    @property
    def is_drawn(self) -> bool:
        """Whether everything that was drawn has left for the terminal."""
        return self._sent == self.device.written and not self.device.is_stalled

    def ask_cursor(self) -> None:
        """Ask the terminal to answer when it has drawn everything up to now."""
        self.write(ASK_CURSOR)

    def run_input_thread(self) -> None:
        """Hand on what is typed until the end; a closed terminal is told to the app."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        try:
            while not self.exit_event.is_set():
                text = decode(self._typed())
                for event in parser.feed(text) if text else ():  # an empty text would end it
                    self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        except OSError:
            self._tell("terminal_lost")
        finally:
            with suppress(EOFError, ParseError):
                for _ in parser.feed(""):
                    pass

    def _typed(self) -> bytes:
        """Return what was typed; nothing if nothing comes for a moment.

        Raises:
            OSError: nobody can type any more.
        """
        if not select.select([self.fileno], [], [], _LOOK_AGAIN_S)[0]:
            return b""
        try:
            typed = os.read(self.fileno, 4096)
        except BlockingIOError:
            return b""
        if not typed:
            raise OSError("the terminal was closed")
        return typed

    def write(self, data: str) -> None:
        """Send data to the terminal, unless it is lent to another program."""
        if not self._is_lent:
            with self._counting:
                self._sent += 1
            super().write(data)

    def start_application_mode(self) -> None:
        """Take over the terminal."""
        super().start_application_mode()
        self._own_mode = mode_of(self.fileno)

    def _sigcont_application(self, *_: object) -> None:
        """Go on after a stop; one that nobody announced took the terminal's mode along."""
        self._loop.call_soon_threadsafe(self._go_on)

    def _go_on(self) -> None:
        if self._is_lent:
            if self._auto_restart:
                self.resume_application_mode()
            return
        set_mode(self.fileno, self._own_mode)
        self.write(_FULL_SCREEN)
        self._enable_mouse_support()
        self._enable_bracketed_paste()
        self._tell("terminal_recovered")

    def suspend_application_mode(self) -> None:
        """Lend the terminal to another program, in the mode in which it was found."""
        self.stop_application_mode()
        super().close()
        self._is_lent = True

    def resume_application_mode(self) -> None:
        """Take the terminal back."""
        self._is_lent = False
        self.start_application_mode()

    def close(self) -> None:
        """Stop writing, close the terminal, and give the signals back."""
        if not self._is_lent:
            super().close()
        self._is_lent = True
        os.close(self.fileno)
        for name, handler in self._before.items():
            signal.signal(getattr(signal, name), handler)

    def _get_terminal_size(self) -> tuple[int, int]:
        try:
            found = os.get_terminal_size(self.fileno)
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24

    def _tell(self, what: str) -> None:
        method: Callable[[], None] | None = getattr(self._app, what, None)
        if method is not None:
            self._loop.call_soon_threadsafe(method)


def _give_standard_input() -> None:
    """Give the toolkit a standard input to look at where there is none; it is never read."""
    if sys.__stdin__ is None:
        sys.__stdin__ = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - lives on
