"""The whole card in the user's pager, while the screen lends it the terminal."""

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from anyio import to_thread

from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import look_of
from luminaguard.approval.pager import keeps_colors, page_by_page, pager_command, run_pager
from luminaguard.approval.plain import full
from luminaguard.approval.terminal import TimeIsUp, Woken, open_terminal
from luminaguard.errors import ApprovalError


def show_in_pager(
    card: DiffCard, *, path: str, environ: Mapping[str, str], wake_fd: int, left_s: float
) -> bool:
    """Show a card until the pager is left, its time is up, or it is woken. Blocking.

    Args:
        card: What to show, nothing left out.
        path: The terminal.
        environ: Read for PAGER, TERM, NO_COLOR and the locale.
        wake_fd: A descriptor that becomes readable when the question is gone.
        left_s: Seconds until the question expires.

    Returns:
        Whether the pager was left by the one who read, not ended from here.
    """
    end = time.monotonic() + left_s
    try:
        with open_terminal(path, wake_fd=wake_fd, left_s=lambda: end - time.monotonic()) as screen:
            columns, rows = screen.size()
            look = look_of(environ, columns=columns, rows=rows)
            command = pager_command(environ)
            if command:
                look = replace(look, color=look.color and keeps_colors(command))
                lines = full(card, look)
                run_pager(command, lines, terminal=screen, path=path, environ=environ)
            else:
                with screen.single_keys():
                    page_by_page(full(card, look), screen)
    except (TimeIsUp, Woken, ApprovalError, OSError):
        return False
    return True


class Lender(Protocol):
    """Who has the terminal."""

    def suspend(self) -> AbstractContextManager[None]:
        """Lend the terminal while the body runs."""
        ...


@dataclass(slots=True)
class PagerLoan:
    """Lends the terminal to a pager, and can take it back."""

    lender: Lender
    is_open: bool = False
    _bell_fd: int = field(default=-1, init=False)

    async def read(
        self, card: DiffCard, left_s: float, *, path: str, environ: Mapping[str, str]
    ) -> bool:
        """Show a card in the pager; see `show_in_pager`."""
        self.is_open = True
        wake_fd, self._bell_fd = os.pipe()
        try:
            with self.lender.suspend():
                return await to_thread.run_sync(
                    lambda: show_in_pager(
                        card, path=path, environ=environ, wake_fd=wake_fd, left_s=left_s
                    )
                )
        finally:
            self.is_open = False
            os.close(wake_fd)
            os.close(self._bell_fd)

    def end(self) -> None:
        """Take the terminal back, if it is lent: what is read is no longer asked."""
        if self.is_open:
            os.write(self._bell_fd, b"!")
