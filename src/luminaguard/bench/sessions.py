"""Figures of the whole chain: one command, a settled session, harvest, commit, rebuild."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from anyio import to_thread

from luminaguard.approval.card import DiffCard
from luminaguard.bench.host import measure_files
from luminaguard.bench.machines import sample_tree
from luminaguard.bench.samples import Samples
from luminaguard.config import Settings
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.errors import LuminaGuardError
from luminaguard.runtime import Session

WHOLE = "`luminaguard exec -- true`, whole process"
SETTLED = "settled session: `sh -c echo`, exec + harvest"
PYTHON = "settled session: first line of resident Python"
HARVEST = "harvest, 10,000 files, 50 edits and deletes"
COMMIT = "commit of 50 changes, crash-safe"
IMAGE = "image of the tree, 10,000 files"
REBUILD = "after a rejection, to the next answer, 10,000 files"

_EDIT_50 = """
import os
for n in range(25):
    with open(f"d{n}/f{n * 100}.py", "a") as file:
        file.write("# edited in round ROUND\\n")
    os.unlink(f"d{n}/f{n * 100 + ROUND + 1}.py")
"""


class Answering:
    """Approves or rejects by a switch; the trees of a benchmark are its own."""

    name = "bench"

    def __init__(self) -> None:
        """Begin by approving."""
        self.end = End.APPROVED

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Answer at once."""
        del card
        return Decision(
            end=self.end,
            request_digest=request.digest,
            approver=self.name,
            reason="benchmark",
            at=datetime.now(UTC),
        )


def measure_whole_process(
    samples: Samples, parent: Path, environment: dict[str, str], backend: str
) -> None:
    """Time the command line as a user waits for it, image and template present."""
    tree = sample_tree(parent, 10)
    command = [sys.executable, "-m", "luminaguard", "exec", "--backend", backend]
    command += ["-w", str(tree), "--", "true"]
    with samples.timed(WHOLE):
        subprocess.run(command, check=True, env=environment, timeout=120)


async def measure_sessions(samples: Samples, settings: Settings, parent: Path, n: int) -> None:
    """Take all figures of this module over one tree of 10,000 files."""
    approver = Answering()
    tree = sample_tree(parent, 10_000)
    own = replace(settings, state_dir=parent / "state")
    await to_thread.run_sync(measure_files, samples, tree, parent, max(3, n // 3))
    async with Session(tree, approver=approver, settings=own) as session:
        first = expect(OutcomeKind.EXECUTED, await session.exec(["true"]))
        samples.add(IMAGE, first.timings_ms["image_ms"])
        for _ in range(n):
            echo = expect(OutcomeKind.EXECUTED, await session.exec(["sh", "-c", "echo hi"]))
            samples.add(SETTLED, echo.timings_ms["exec_ms"] + echo.timings_ms["harvest_ms"])
            python = expect(OutcomeKind.EXECUTED, await session.call("python", code="print(1)"))
            samples.add(PYTHON, python.timings_ms["exec_ms"])
        for number in range(n):
            code = _EDIT_50.replace("ROUND", str(number))
            edited = expect(OutcomeKind.COMMITTED, await session.call("python", code=code))
            samples.add(HARVEST, edited.timings_ms["harvest_ms"])
            samples.add(COMMIT, edited.timings_ms["commit_ms"])
        approver.end = End.REJECTED
        for _ in range(max(3, n // 3)):
            expect(OutcomeKind.DISCARDED, await session.exec(["sh", "-c", "rm d0/f50.py"]))
            with samples.timed(REBUILD):
                expect(OutcomeKind.EXECUTED, await session.exec(["true"]))


def expect(expected: OutcomeKind, outcome: Outcome) -> Outcome:
    """Return the outcome, if it is what is being timed."""
    if outcome.kind is not expected:
        raise LuminaGuardError(f"a benchmark call ended {outcome.kind}: {outcome.error}")
    return outcome
