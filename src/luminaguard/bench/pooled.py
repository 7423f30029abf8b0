"""Figures of warm machines: a whole call in one, from its hand-out to its harvest."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from luminaguard.bench.machines import sample_tree
from luminaguard.bench.samples import Samples
from luminaguard.bench.sessions import Answering, expect
from luminaguard.config import Settings
from luminaguard.domain.outcome import OutcomeKind
from luminaguard.fleet import Fleet
from luminaguard.runtime import Session

CALL = "pooled call: hand-out, mount, `true`, harvest"
ECHO = "pooled call: hand-out, mount, `sh -c echo`, harvest"
REFILLING = "the same `true` while the store is refilled"
HAND_OUT = "pooled: hand-out alone"
_TRUE, _ECHO = ["true"], ["sh", "-c", "echo hi"]
_HAND_OUT = ("queue_ms", "disk_ms", "resume_ms", "reseed_ms")
_CALL = (*_HAND_OUT, "mount_ms", "exec_ms", "harvest_ms")


async def measure_pool(samples: Samples, settings: Settings, parent: Path, n: int) -> None:
    """Time calls in warm machines, each in a session and a machine of its own.

    The store is full before each call: what is measured is the call, not the making. With room for
    one machine only, no other is made meanwhile; with the user's own settings, one is.
    """
    own = replace(settings, state_dir=parent / "pooled-state")
    alone = replace(own, pool=replace(own.pool, size=1, max_machines=1))
    tree = sample_tree(parent, 10)
    async with Fleet(settings=alone) as fleet:
        for _ in range(n):
            for figure, argv in ((CALL, _TRUE), (ECHO, _ECHO)):
                timings = await _call(fleet, alone, tree, argv)
                samples.add(figure, _sum(timings, _CALL))
                samples.add(HAND_OUT, _sum(timings, _HAND_OUT))
    async with Fleet(settings=own) as fleet:
        for _ in range(n):
            samples.add(REFILLING, _sum(await _call(fleet, own, tree, _TRUE), _CALL))


async def _call(
    fleet: Fleet, settings: Settings, tree: Path, argv: list[str]
) -> Mapping[str, float]:
    await fleet.machines.filled()
    async with Session(
        tree, approver=Answering(), settings=settings, machines=fleet.machines, log=fleet.log
    ) as session:
        return expect(OutcomeKind.EXECUTED, await session.exec(argv)).timings_ms


def _sum(timings: Mapping[str, float], phases: tuple[str, ...]) -> float:
    return sum(timings[phase] for phase in phases)
