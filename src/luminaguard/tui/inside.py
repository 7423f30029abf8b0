"""The screen inside a running command: open while the run lasts, gone before its result is printed.

Nothing else writes to the terminal meanwhile: notices go to the screen's story. A screen that is
left, or fails, leaves the run as it is: what is open waits for another screen until it expires.
"""

import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import anyio
from anyio import to_thread

from luminaguard.approval.approver import INTERRUPTED
from luminaguard.approval.approvers import utc_now, warn
from luminaguard.approval.desk.admission import Admission
from luminaguard.approval.desk.held import HeldDesk
from luminaguard.approval.desk.secret import enrolled
from luminaguard.approval.desk.server import served
from luminaguard.approval.terminal import proof_of
from luminaguard.domain.visible import visible
from luminaguard.tui.app import LOST, CliffApp
from luminaguard.tui.approver import NAME, TuiApprover
from luminaguard.tui.check import check_terminal
from luminaguard.tui.surroundings import RunHere
from luminaguard.tui.trail import Trail

CLOSE_LIMIT_S = 5.0
"""A screen that does not close by then is left alone: its terminal takes nothing."""
FAILED = "failed"
SETTLE_S = 0.5
"""Given to the guard to record that a question failed, before the run is ended."""


@dataclass(slots=True)
class InsideScreen:
    """What a command gives to its session while the screen is open."""

    approver: TuiApprover
    trail: Trail
    end_call: Callable[[], None] = lambda: None
    """Set by the command: ends the call in progress, or else the next one."""
    pool_text: Callable[[], str] = str
    """Set by the command: the state of its machines in a few words."""
    cost_text: Callable[[], str] = str
    """Set by the command: what its model has cost so far."""
    is_open: bool = field(default=True, init=False)

    def pool(self) -> str:
        """Return the state of the machines in a few words; empty: unknown."""
        return self.pool_text()

    def cost(self) -> str:
        """Return what the model has cost so far; empty: nothing, or unknown."""
        return self.cost_text()

    def notice(self, text: str) -> None:
        """Tell what the user waits for: on the screen, or on standard error without one."""
        if self.is_open:
            self.trail.notice(text)
        else:
            warn(f"luminaguard: {visible(text)}")

    def interrupt(self) -> None:
        """End the open question as interrupted, which ends the run; else the call in progress."""
        is_asked = bool(self.approver.desk.pending())
        self.approver.end(INTERRUPTED)
        if not is_asked:
            self.end_call()

    async def lose(self) -> None:
        """End the open question as failed, and then the run: nobody looks any more."""
        self.approver.end(LOST)
        await anyio.sleep(SETTLE_S)
        self.end_call()


@asynccontextmanager
async def screen_inside(
    *, workspace: Path, state_dir: Path, runtime_dir: Path, unattended: str, path: str = "/dev/tty"
) -> AsyncGenerator[InsideScreen]:
    """Keep a screen open while the body runs, and restore the terminal whatever happens.

    Other screens of this user can look at the same questions; approving there needs what it needs
    with any other process.

    Args:
        workspace: Named to whoever decides.
        state_dir: Where the approver secret is enrolled.
        runtime_dir: Where other processes look for desks.
        unattended: What allows others to approve without the secret; empty: nothing does.
        path: The terminal.

    Raises:
        ApprovalError: there is no terminal, or none that a screen can be drawn on.
    """
    check_terminal(os.environ, path=path)
    admission = Admission(
        enrollment=await to_thread.run_sync(enrolled, state_dir), unattended_by=unattended
    )
    desk = HeldDesk(approver=NAME)
    origin = f"process {os.getpid()}, {workspace}"
    inside = InsideScreen(TuiApprover(desk=desk, origin=origin), Trail(utc_now))
    run = RunHere(
        trail=inside.trail,
        interrupt=inside.interrupt,
        pool_text=inside.pool,
        cost_text=inside.cost,
    )
    app = CliffApp(terminal_path=path, run=run)
    app.attach(desk.attach(proof=proof_of(path)))
    try:
        async with (
            served(desk, runtime_dir=runtime_dir, admission=admission),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(_watch_hangup, inside)
            closed = anyio.Event()
            tasks.start_soon(_show, app, inside, closed)
            try:
                yield inside
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_LIMIT_S):
                    app.exit()
                    await closed.wait()
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:  # the body's own error: showing raises none
        raise _first(group) from group


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


async def _show(app: CliffApp, inside: InsideScreen, closed: anyio.Event) -> None:
    why = ""
    try:
        why = await app.show()
    except Exception as defect:  # noqa: BLE001 - a screen that fails decides nothing
        warn(f"luminaguard: {type(defect).__name__}: {visible(str(defect))}")
        why = FAILED
    finally:
        inside.is_open = False
        closed.set()
    if why == LOST:
        await inside.lose()
    elif why == FAILED or app.return_code:
        warn("luminaguard: the screen failed; open questions wait for `luminaguard tui`")


async def _watch_hangup(inside: InsideScreen) -> None:
    """Take the loss of the terminal, as the kernel tells it, for what it is: no decision."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            await inside.lose()
