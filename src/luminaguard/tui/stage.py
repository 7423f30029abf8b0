"""The app as arming sees it: its clock, its timers, its terminal, and what keys are about."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.driver import Driver

from luminaguard.tui.driver import TtyDriver

if TYPE_CHECKING:
    from luminaguard.tui.app import CliffApp


class AppStage:
    """Implements `arming.Stage` for one app."""

    def __init__(self, app: "CliffApp", driver: Callable[[], Driver | None]) -> None:
        """Serve `app`, whose connection to the terminal is `driver`."""
        self._app = app
        self._driver = driver
        self._answers: bool | None = None
        """Whether the terminal says when it has drawn something; None: not known yet."""

    def clock(self) -> float:
        """Return seconds on the clock that the toolkit stamps keys with."""
        return time.monotonic()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` after a time, behind all keys that were handed to the app until then."""
        # Not the toolkit's timer: that leaves out a call that it is late for.
        asyncio.get_running_loop().call_later(seconds, self._app.call_later, act)

    def has_sent(self) -> bool:
        """Return whether all that was drawn has left for the terminal."""
        driver = self._driver()
        return not isinstance(driver, TtyDriver) or driver.is_drawn

    def ask_drawn(self) -> bool:
        """Ask the terminal to answer behind the last frame; returns whether it can be asked."""
        driver = self._driver()
        if not isinstance(driver, TtyDriver) or not self._answers:
            return False
        driver.ask_cursor()
        return True

    def try_terminal(self) -> None:
        """Find out, once, whether the terminal answers."""
        driver = self._driver()
        if isinstance(driver, TtyDriver):
            driver.ask_cursor()

    def terminal_answered(self) -> None:
        """Take note that it does."""
        self._answers = True

    def armed(self, *, is_armed: bool) -> None:
        """Show whether keys count."""
        self._app.show_armed(is_armed=is_armed)

    def pressed(self, key: str, subject: str) -> None:
        """Act on a key that counts."""
        self._app.answer_key(key, subject)
