"""A screen over a queue of cards; started by tests on a pseudo-terminal.

Argument: the cards as JSON. Prints how each of them ended, as JSON; "withdrawn" where nobody
answered until the screen was closed.
"""

import json
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio

from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.held import HeldDesk
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.verdict import Risk
from luminaguard.testing.cards import text_card
from luminaguard.tui.app import CliffApp

OFFERS = (
    GrantOffer(offer_id="exact", scope=GrantScope.EXACT, covers="this very call, once more"),
    GrantOffer(
        offer_id="session",
        scope=GrantScope.SESSION,
        covers="make release, changing release.txt only, until the session ends",
        also=("make clean",),
    ),
)


def main() -> None:
    sys.stdout.write(json.dumps(anyio.run(_show, json.loads(sys.argv[1]))))


async def _show(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    desk = HeldDesk(approver="tui")
    ended: list[dict[str, Any]] = [{"end": "withdrawn"} for _ in wanted]

    async def ask(number: int, options: dict[str, Any]) -> None:
        card = _card(number, options)
        decision = await desk.ask(card.request, card, origin="a test")
        ended[number] = decision.as_json()

    async with anyio.create_task_group() as tasks:
        for number, options in enumerate(wanted):
            tasks.start_soon(ask, number, options)
        app = CliffApp()
        app.attach(desk.attach(proof="a test"))
        await app.show()
        tasks.cancel_scope.cancel()
    return ended


def _card(number: int, options: dict[str, Any]) -> DiffCard:
    card = text_card(
        {"release.txt": ("old\n", options.get("after", "new\n"))},
        risk=Risk(options.get("risk", "medium")),
        arguments={"command": f"make release-{number}"},
        open_for=timedelta(seconds=options.get("open_for_s", 120.0)),
    )
    return replace(card, offers=OFFERS if options.get("offers") else ())


if __name__ == "__main__":
    main()
