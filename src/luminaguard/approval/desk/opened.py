"""The approver `queue`: a desk of this process, opened to the other processes of its user."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread

from luminaguard.approval.desk.admission import admission
from luminaguard.approval.desk.held import DeskApprover, HeldDesk
from luminaguard.approval.desk.secret import enrolled
from luminaguard.approval.desk.server import served


@asynccontextmanager
async def queue_approver(
    *,
    state_dir: Path,
    runtime_dir: Path,
    unattended: str,
    origin: str,
    name: str = "queue",
    notice: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[DeskApprover]:
    """Open a desk to `luminaguard approvals` and other screens while the body runs.

    Args:
        state_dir: Where the approver secret is enrolled.
        runtime_dir: Where other processes look for desks.
        unattended: What allows approving without the secret; empty: nothing does.
        origin: Who asks, for people; the process id is added.
        name: The approver's name in decisions.
        notice: Told how to decide, and of wrong secrets.

    Raises:
        ApprovalError: nobody could approve, or no private socket can be made.
    """
    may_approve = admission(await to_thread.run_sync(enrolled, state_dir), unattended=unattended)
    desk = HeldDesk(approver=name)
    async with served(desk, runtime_dir=runtime_dir, admission=may_approve, notice=notice):
        notice("open questions wait for `luminaguard approvals` in another terminal")
        yield DeskApprover(desk=desk, origin=f"process {os.getpid()}, {origin}")
