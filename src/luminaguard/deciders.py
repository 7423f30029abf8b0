"""From an approver's name to a queue that asks it: who is asked, and who after that."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from anyio import to_thread

from luminaguard.approval.approver import Approver
from luminaguard.approval.approvers import DenyApprover, all_approver, unattended_by
from luminaguard.approval.queue import ApprovalQueue, Escalation, InTurn
from luminaguard.approval.tty import TtyApprover, has_terminal
from luminaguard.config import APPROVERS, Settings
from luminaguard.errors import ApprovalError, ConfigError


@asynccontextmanager
async def opened_queue(
    chosen: Approver | str | None,
    *,
    settings: Settings,
    workspace: Path,
    notice: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[ApprovalQueue]:
    """Open what decides on a session's requests, while the body runs.

    Args:
        chosen: An approver, or its name. Default: the terminal, and nobody where there is none.
        settings: The `[approval]` section is read.
        workspace: Named to whoever decides in another process.
        notice: Told what the user should know.

    Raises:
        ApprovalError: there is no such approver, or it may not or cannot decide here.
        ConfigError: the settings escalate to an approver that cannot be escalated to.
    """
    async with AsyncExitStack() as stack:
        if chosen is None:
            chosen = "tty" if has_terminal() else "deny"
        if isinstance(chosen, str):
            found = await _opened(chosen, stack, settings, workspace, notice)
        else:
            found = chosen
        after_s, to = settings.approval.escalate_after_s, settings.approval.escalate_to
        escalation: Escalation | None = None
        if after_s and found.name in {"tty", "tui"}:
            if to != "queue":
                raise ConfigError(
                    f"approval.escalate_to = {to!r}: only the queue can be asked second",
                    hint='escalate_to = "queue"',
                )
            second = await _opened(to, stack, settings, workspace, notice)
            escalation = Escalation(after_s=after_s, to=second)
        yield ApprovalQueue(approver=found, escalation=escalation, notice=notice)


async def _opened(
    name: str,
    stack: AsyncExitStack,
    settings: Settings,
    workspace: Path,
    notice: Callable[[str], None],
) -> Approver:
    allowed = settings.approval.allow_unattended
    if name == "deny":
        return DenyApprover()
    if name == "tty":
        return InTurn(approver=TtyApprover())
    if name == "all":
        return await to_thread.run_sync(
            lambda: all_approver(
                os.environ,
                config_entry=allowed,
                knows_secret=lambda: _knows_secret(settings.state_dir),
            )
        )
    if name == "queue":
        # Not needed by any other approver, and slow to import.
        from luminaguard.approval.desk.opened import queue_approver  # noqa: PLC0415

        desk = queue_approver(
            state_dir=settings.state_dir,
            runtime_dir=settings.runtime_dir,
            unattended=unattended_by(os.environ, config_entry=allowed),
            origin=str(await to_thread.run_sync(workspace.resolve)),
            notice=notice,
        )
        return await stack.enter_async_context(desk)
    if name == "tui":
        raise ApprovalError(
            "the screen belongs to a command: a session by itself has none",
            hint="luminaguard run or exec with --approver tui; in Python, approver='queue' and "
            "`luminaguard tui` in another terminal",
        )
    raise ApprovalError(f"there is no approver {name!r}", hint=", ".join(APPROVERS))


def _knows_secret(state_dir: Path) -> bool:
    """Have the approver secret typed, where one is enrolled and there is a terminal."""
    if not has_terminal():
        return False
    from luminaguard.approval.desk.asked_secret import ask_prover  # noqa: PLC0415 - rare
    from luminaguard.approval.desk.secret import enrolled  # noqa: PLC0415 - rare

    enrollment = enrolled(state_dir)
    if enrollment is None:
        return False
    ask_prover(enrollment)
    return True
