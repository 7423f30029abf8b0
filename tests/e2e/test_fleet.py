"""Sessions that share warm machines and one audit log."""

import resource
from dataclasses import replace

import anyio
import pytest

from luminaguard import get_pool_metrics
from luminaguard.domain.approval import End
from luminaguard.domain.outcome import OutcomeKind
from luminaguard.errors import LuminaGuardError
from luminaguard.fleet import Fleet
from luminaguard.image.image import GuestImage
from luminaguard.runtime import Session
from luminaguard.testing.approver import FixedApprover
from luminaguard.testing.hypervisor import FakeGuest
from luminaguard.vm.pool.publish import published_pools
from luminaguard.vm.pool.settings import PoolSettings
from world import World

pytestmark = pytest.mark.anyio


def fleet_of(world: World, *, size: int = 1) -> Fleet:
    return Fleet(
        settings=replace(world.settings(), pool=PoolSettings(size=size)),
        hypervisor=world.hypervisor,
        image=GuestImage(directory=world.root / "image", digest="0" * 64),
    )


async def test_sessions_of_a_fleet_get_warm_machines_and_write_one_log(world: World) -> None:
    trees = [world.root / f"tree-{number}" for number in range(5)]
    outcomes: list[OutcomeKind] = []

    async def one(fleet: Fleet, number: int) -> None:
        trees[number].mkdir()
        session = Session(
            trees[number],
            approver="deny",
            settings=world.settings(),
            machines=fleet.machines,
            log=fleet.log,
        )
        async with session:
            outcomes.append((await session.exec(["true"])).kind)

    async with fleet_of(world) as fleet:
        async with anyio.create_task_group() as tasks:
            for number in range(len(trees)):
                tasks.start_soon(one, fleet, number)
        metrics = get_pool_metrics()
    assert outcomes == [OutcomeKind.EXECUTED] * 5
    assert (metrics.active_vms, metrics.queued_tasks) == (0, 0)
    assert metrics.totals["handed_out"] == 5
    assert world.kinds().count("session.ended") == 5
    assert world.verifies()


@pytest.mark.guarantee("G6")
async def test_a_machine_of_a_rejected_call_is_never_seen_again(world: World) -> None:
    def edit(guest: FakeGuest) -> None:
        guest.upper.write("README", b"changed\n")

    world.program("edit", edit)
    approver = FixedApprover([End.REJECTED])
    async with fleet_of(world) as fleet:
        session = world.session(approver, machines=fleet.machines, log=fleet.log)
        async with session:
            assert (await session.exec(["edit"])).kind is OutcomeKind.DISCARDED
            assert (await session.exec(["true"])).kind is OutcomeKind.EXECUTED
        assert get_pool_metrics().totals["handed_out"] == 2


async def test_an_open_fleet_can_be_seen_from_other_processes_and_a_closed_one_not(
    world: World,
) -> None:
    runtime_dir = world.settings().runtime_dir
    async with fleet_of(world) as fleet:
        await fleet.machines.filled(10)
        with anyio.fail_after(10):
            while not (pools := published_pools(runtime_dir)):
                await fleet.machines.next_change().wait()
        assert pools[0].id == fleet.machines.id
    assert published_pools(runtime_dir) == []


async def test_a_fleet_may_have_more_files_open_than_the_usual_thousand(world: World) -> None:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, usual[1]))
    try:
        async with fleet_of(world, size=0):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert soft == min(65_536, hard)


async def test_a_fleet_that_is_not_open_says_so(world: World) -> None:
    with pytest.raises(LuminaGuardError, match="not open"):
        fleet_of(world).machines  # noqa: B018 - reading it is the test
