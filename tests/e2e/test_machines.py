"""Where a session's machines come from, what they cost it, and where they go."""

from collections.abc import Mapping

import pytest

from luminaguard.domain.approval import End
from luminaguard.domain.outcome import OutcomeKind
from luminaguard.errors import GuestLost, PoolFull
from luminaguard.image.image import GuestImage
from luminaguard.pipeline.machine import PHASES
from luminaguard.testing.approver import FixedApprover
from luminaguard.testing.hypervisor import FakeGuest
from luminaguard.vm.direct import DirectLease, DirectSource
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec
from world import World

pytestmark = pytest.mark.anyio


def edit(guest: FakeGuest) -> None:
    guest.upper.write("README", b"changed\n")


class Source:
    """Hands out fake machines, paused as a pool's are, and remembers them."""

    def __init__(self, world: World, timings_ms: Mapping[str, float] | None = None) -> None:
        spec = VmSpec(image=GuestImage(directory=world.root / "image", digest="0" * 64))
        self._direct = DirectSource(world.hypervisor, lambda: spec)
        self._timings_ms = timings_ms or {}
        self.leases: list[DirectLease] = []
        self.owners: list[str] = []
        self.renewals_left = 1_000
        self.refuses = False

    async def lease(self, owner: str) -> DirectLease:
        if self.refuses:
            raise PoolFull("8 sessions wait already", hint="try again later")
        lease = await self._direct.lease(owner)
        await lease.vm.pause()
        limited = _Limited(lease, self._timings_ms, self)
        self.leases.append(limited)
        self.owners.append(owner)
        return limited


class _Limited(DirectLease):
    def __init__(self, lease: DirectLease, timings_ms: Mapping[str, float], source: Source) -> None:
        super().__init__(lease.vm, timings_ms)
        self._source = source

    def renew(self) -> None:
        self._source.renewals_left -= 1
        if self._source.renewals_left < 0:
            raise GuestLost("the lease has run out")


async def test_every_outcome_of_a_machine_tells_what_each_phase_took(world: World) -> None:
    world.program("edit", edit)
    approver = FixedApprover([End.APPROVED, End.REJECTED])
    async with world.session(approver) as session:
        first = await session.exec(["edit"])
        second = await session.exec(["true"])
        third = await session.exec(["edit"])
    for outcome in (first, second, third):
        assert set(outcome.timings_ms) == set(PHASES)
        assert all(ms >= 0 for ms in outcome.timings_ms.values())
        assert outcome.timings_ms["exec_ms"] > 0
    assert first.timings_ms["mount_ms"] > 0
    assert first.timings_ms["commit_ms"] > 0
    assert second.timings_ms["restore_ms"] == second.timings_ms["commit_ms"] == 0


async def test_a_session_takes_paused_machines_from_a_shared_source(world: World) -> None:
    source = Source(world, {"queue_ms": 12.0})
    async with world.session(machines=source) as session:
        outcome = await session.exec(["true"])
        assert source.owners == [session.id]
    assert outcome.kind is OutcomeKind.EXECUTED
    assert outcome.timings_ms["queue_ms"] == 12.0
    assert outcome.timings_ms["resume_ms"] > 0


@pytest.mark.guarantee("G6")
async def test_a_leased_machine_is_destroyed_after_a_rejection_and_at_the_end(world: World) -> None:
    world.program("edit", edit)
    source = Source(world)
    async with world.session(FixedApprover([End.REJECTED]), machines=source) as session:
        await session.exec(["edit"])
        assert [lease.vm.state for lease in source.leases] == [VmState.STOPPED]
        await session.exec(["true"])
    assert [lease.vm.state for lease in source.leases] == [VmState.STOPPED] * 2


async def test_a_lease_that_has_run_out_fails_the_call_and_the_next_gets_a_new_one(
    world: World,
) -> None:
    source = Source(world)
    async with world.session(machines=source) as session:
        await session.exec(["true"])
        source.renewals_left = 0
        lost = await session.exec(["true"])
        source.renewals_left = 1
        again = await session.exec(["true"])
    assert (lost.kind, lost.error_code) == (OutcomeKind.FAILED, "guest-lost")
    assert again.kind is OutcomeKind.EXECUTED
    assert len(source.leases) == 2


async def test_a_full_pool_fails_the_call_and_says_that_trying_again_is_right(world: World) -> None:
    source = Source(world)
    source.refuses = True
    async with world.session(machines=source) as session:
        outcome = await session.exec(["true"])
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "pool-full")
    assert "try again later" in outcome.error
