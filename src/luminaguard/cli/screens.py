"""`--approver tui`: opens the screen for a command, and hands on all other approvers."""

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from luminaguard.agent.ports import Observer
from luminaguard.approval.approver import Approver
from luminaguard.approval.approvers import unattended_by
from luminaguard.cli.present import notice
from luminaguard.config import Settings
from luminaguard.domain.calls import JsonValue

if TYPE_CHECKING:
    from luminaguard.runtime import Session
    from luminaguard.tui.inside import InsideScreen


@dataclass(slots=True)
class Deciding:
    """Who decides in a command, and where its story goes."""

    approver: Approver | str | None
    notice: Callable[[str], None] = notice
    observer: Observer | None = None
    """Takes the story of a run; None: the command tells it itself."""
    bind: Callable[["Session"], None] = lambda _: None
    """To be called with the session once it is made."""
    show_pool: Callable[[Callable[[], str]], None] = lambda _: None
    """To be called with what tells the state of the machines."""
    show_cost: Callable[[Callable[[], str]], None] = lambda _: None
    """To be called with what tells the cost of the run so far."""


@asynccontextmanager
async def deciding(
    approver: str | None, *, settings: Settings, workspace: Path
) -> AsyncGenerator[Deciding]:
    """Open the screen if that is who decides; the terminal is as before when the body ends.

    Raises:
        ApprovalError: there is no terminal, or none that a screen can be drawn on.
    """
    if approver != "tui":
        yield Deciding(approver)
        return
    from luminaguard.tui.inside import screen_inside  # noqa: PLC0415 - heavy

    allowed = settings.approval.allow_unattended
    async with screen_inside(
        workspace=await to_thread.run_sync(workspace.resolve),
        state_dir=settings.state_dir,
        runtime_dir=settings.runtime_dir,
        unattended=unattended_by(os.environ, config_entry=allowed),
    ) as screen:
        yield _deciding_on(screen)


def _deciding_on(screen: "InsideScreen") -> Deciding:
    def bind(session: "Session") -> None:
        screen.end_call = session.interrupt

    def show_pool(text: Callable[[], str]) -> None:
        screen.pool_text = text

    def show_cost(text: Callable[[], str]) -> None:
        screen.cost_text = text

    return Deciding(
        approver=screen.approver,
        notice=screen.notice,
        observer=screen.trail,
        bind=bind,
        show_pool=show_pool,
        show_cost=show_cost,
    )


def pool_text(told: Mapping[str, JsonValue]) -> str:
    """Return a pool's metrics (`PoolMetrics.as_json`) in a few words."""
    return (
        f"machines: {told.get('active_vms', 0)} in use, {told.get('paused', 0)} warm, "
        f"{told.get('starting', 0)} starting; {told.get('queued_tasks', 0)} calls wait"
    )
