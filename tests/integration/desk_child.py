"""A process that asks on a desk which other processes can see; started by tests.

Arguments: root directory, seconds that the question is open. Prints how it ended, as JSON.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

import anyio

from luminaguard.approval.desk.opened import queue_approver
from luminaguard.approval.queue import ApprovalQueue
from luminaguard.testing.cards import text_card


async def _ask(root: Path, open_for_s: float) -> str:
    card = text_card({"a.txt": ("old\n", "new\n")}, open_for=timedelta(seconds=open_for_s))
    async with queue_approver(
        state_dir=root / "state", runtime_dir=root / "state" / "run", unattended="", origin="a test"
    ) as approver:
        sys.stderr.write("asked\n")
        sys.stderr.flush()
        decision = await ApprovalQueue(approver=approver).ask(card.request, card)
    return json.dumps(decision.as_json())


if __name__ == "__main__":
    sys.stdout.write(anyio.run(_ask, Path(sys.argv[1]), float(sys.argv[2])))
