"""The screen of `luminaguard tui`: attached to the desks of all processes of this user."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio import to_thread

from luminaguard.approval.approvers import utc_now
from luminaguard.approval.desk.client import Identity, find_desks
from luminaguard.approval.desk.secret import enrolled, unlock
from luminaguard.errors import ApprovalError, LuminaGuardError
from luminaguard.tui.app import LEFT, CliffApp
from luminaguard.tui.check import check_terminal
from luminaguard.tui.records import RecordTrail
from luminaguard.tui.surroundings import Others

LOOK_AGAIN_S = 0.5
"""How often new sessions, records and pools are looked for."""


@dataclass(slots=True, kw_only=True)
class Attachment:
    """Finds what there is to look at, and proves who looks."""

    state_dir: Path
    runtime_dir: Path
    pool_text: Callable[[], str]
    identity: Identity = field(default_factory=Identity)
    pool: str = ""
    _known: set[str] = field(default_factory=set[str])

    async def watch(self, app: CliffApp) -> None:
        """Attach every desk that there is and will be, and follow the records."""
        records = RecordTrail(self.state_dir, app.trail)
        while True:
            try:
                desks = await to_thread.run_sync(find_desks, self.runtime_dir, self.identity)
                self.pool = await to_thread.run_sync(self.pool_text)
                records.add(await to_thread.run_sync(records.read))
            except LuminaGuardError as error:
                app.tell(str(error))
                desks = ()
            for desk in desks:
                if desk.name not in self._known:
                    self._known.add(desk.name)
                    app.attach(desk, f"(process {desk.pid})")
            app.changed()
            await anyio.sleep(LOOK_AGAIN_S)

    async def prove(self, secret: str) -> None:
        """Unlock the approver secret, so that a yes from here counts.

        Raises:
            ApprovalError: none is enrolled, or this is not it.
        """
        enrollment = await to_thread.run_sync(enrolled, self.state_dir)
        if enrollment is None:
            raise ApprovalError(
                "no approver secret is enrolled", hint="luminaguard approvals enroll"
            )
        self.identity.prover = await to_thread.run_sync(unlock, enrollment, secret)


async def look_at_all(
    *,
    state_dir: Path,
    runtime_dir: Path,
    pool_text: Callable[[], str],
    path: str = "/dev/tty",
) -> str:
    """Show the screen until it is left.

    Returns:
        Why it ended by itself; empty when it was left.

    Raises:
        ApprovalError: there is no terminal, or none that a screen can be drawn on.
    """
    check_terminal(os.environ, path=path)
    attached = Attachment(state_dir=state_dir, runtime_dir=runtime_dir, pool_text=pool_text)
    app = CliffApp(
        terminal_path=path,
        now=utc_now,
        others=Others(watch=attached.watch, prove=attached.prove, pool_text=lambda: attached.pool),
    )
    why = ""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_leave_on_signals, app)
        why = await app.show()
        tasks.cancel_scope.cancel()
    if app.return_code:
        return "the screen failed"
    return "" if why == LEFT else why


async def _leave_on_signals(app: CliffApp) -> None:
    """Close the screen, the terminal restored, when somebody ends the process."""
    wanted = [signal.SIGTERM, signal.SIGINT]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    with anyio.open_signal_receiver(*wanted) as signals:
        async for number in signals:
            app.exit(f"ended by {signal.Signals(number).name}")
