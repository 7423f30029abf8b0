"""A session with a screen inside, over a fake machine; started by tests on a pseudo-terminal.

Arguments: root directory, options as JSON. Prints what became of the calls as JSON.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import anyio

from luminaguard.cli.interrupts import interrupts
from luminaguard.domain.outcome import Outcome
from luminaguard.testing.hypervisor import FakeGuest
from luminaguard.tui.app import CliffApp
from luminaguard.tui.inside import InsideScreen, screen_inside
from world import World


def main() -> None:
    root, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if options.get("crashes"):
        CliffApp._tick = _crash
    world = World(root=root, workspace=root / "work")
    for name, texts in options["programs"].items():
        world.program(name, lambda guest, texts=texts: _write(guest, texts))
    sys.stdout.write(json.dumps(anyio.run(_work, world, options)))


def _write(guest: FakeGuest, texts: dict[str, str | None]) -> None:
    for path, text in texts.items():
        if text is None:
            guest.upper.delete(path)
        else:
            guest.upper.write(path, text.encode())


def _crash(self: CliffApp) -> None:
    raise RuntimeError("a defect of the screen")


async def _work(world: World, options: dict[str, Any]) -> list[dict[str, object]]:
    async with screen_inside(
        workspace=world.workspace,
        state_dir=world.root / "state",
        runtime_dir=world.root / "run",
        unattended="",
    ) as screen:
        return await _calls(world, screen, options)


async def _calls(
    world: World, screen: InsideScreen, options: dict[str, Any]
) -> list[dict[str, object]]:
    session = world.session(
        screen.approver, notice=screen.notice, approval_timeout_s=options["open_for_s"]
    )
    screen.end_call = session.interrupt
    ended: list[dict[str, object]] = []
    async with session, interrupts(session.interrupt):
        for name in options["calls"]:
            outcome = await session.exec([name])
            screen.trail.ended(outcome)
            ended.append(_told(outcome))
    return ended


def _told(outcome: Outcome) -> dict[str, object]:
    decision = outcome.decision.as_json() if outcome.decision else None
    return {"outcome": outcome.kind.value, "decision": decision, "error": outcome.error}


if __name__ == "__main__":
    main()
