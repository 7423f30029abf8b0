"""A process of its own session that asks on the terminal given to it; started by test_tty.py.

Standard input, output and error are pipes: the only way to the human is the controlling terminal.
Prints the decision as JSON.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from datetime import timedelta

import anyio

from luminaguard.approval.queue import ApprovalQueue
from luminaguard.approval.tty import TtyApprover
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.verdict import Risk
from luminaguard.testing.cards import text_card


def main() -> None:
    options = json.loads(sys.argv[2])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.argv[1]:
        os.open(sys.argv[1], os.O_RDWR)  # a session's first terminal becomes its controlling one
    card = text_card(
        {path: tuple(texts) for path, texts in options["texts"].items()},
        risk=Risk(options["risk"]),
        open_for=timedelta(seconds=options["open_for_s"]),
    )
    if options.get("offers"):
        card = replace(card, offers=tuple(_offer(scope) for scope in GrantScope))
    environ = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
    environ |= options["environ"]
    approver = TtyApprover(environ=environ, arm_after_s=options["arm_after_s"])

    async def ask() -> dict[str, JsonValue]:
        with anyio.move_on_after(options["cancel_after_s"]) as scope:
            decision = await ApprovalQueue(approver=approver).ask(card.request, card)
            return decision.as_json() | {"digest": decision.request_digest == card.request.digest}
        return {"end": "cancelled", "cancelled": scope.cancelled_caught}

    sys.stdout.write(json.dumps(anyio.run(ask)))


def _offer(scope: GrantScope) -> GrantOffer:
    also = ("make clean",) if scope is GrantScope.SESSION else ()
    return GrantOffer(offer_id=f"id-{scope}", scope=scope, covers=f"covered {scope}", also=also)


if __name__ == "__main__":
    main()
