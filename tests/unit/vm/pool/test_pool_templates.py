"""What a pool makes its machines from, and for how long it keeps them."""

import anyio
import pytest

from luminaguard.errors import (
    TemplateError,
)
from luminaguard.vm.hypervisor import Capabilities
from luminaguard.vm.lifecycle import VmState
from pooling import World, at_rest, lease_while

pytestmark = pytest.mark.anyio

LIMIT_S = 10.0


@pytest.mark.guarantee("G6")
async def test_a_new_image_takes_over_without_a_gap_and_never_goes_back(world: World) -> None:
    async with world.pool(size=2, max_machines=6, check_s=30) as pool:
        await pool.filled(LIMIT_S)
        first = list(world.hypervisor.machines)
        hold = world.hypervisor.holds["exercise"] = anyio.Event()
        world.image = "1"
        world.pass_time(pool, 31)
        await pool.until(lambda now: now.refreshing and now.starting == 2, LIMIT_S)
        before = await pool.lease("meanwhile")
        assert before.vm is first[0], "the old store serves until the new one stands"
        hold.set()
        metrics = await pool.until(lambda now: at_rest(now) and not now.refreshing, LIMIT_S)
        after = await pool.lease("later")
        assert after.vm not in first
        assert first[1].state is VmState.STOPPED
        assert before.vm.state is VmState.PAUSED, "a lease is not taken away"
        assert metrics.totals["retired.stale"] == 1
        assert metrics.snapshot_freshness == 0


async def test_a_template_found_bad_is_made_anew(world: World) -> None:
    async with world.pool(size=0) as pool:
        await pool.until(lambda now: now.template is not None, LIMIT_S)
        world.hypervisor.faults["restore"] = TemplateError("it is stale")
        templates = world.hypervisor.holds["template"] = anyio.Event()

        async def mend() -> None:
            await pool.until(lambda now: now.failures.get("restore") == 1, LIMIT_S)
            world.pass_time(pool, 1)
            assert pool.metrics().starting == 0, "nothing is made while the template is made"
            world.hypervisor.faults.clear()
            templates.set()

        lease = await lease_while(pool, mend)
        assert lease.vm.state is VmState.RUNNING


async def test_freshness_is_the_time_since_the_template_was_found_right(world: World) -> None:
    async with world.pool(check_s=100) as pool:
        await pool.filled(LIMIT_S)
        world.pass_time(pool, 60)
        assert pool.metrics().snapshot_freshness == 60
        pool.refresh()
        await pool.until(lambda now: now.snapshot_freshness == 0, LIMIT_S)
        assert len(world.hypervisor.machines) == 2, "nothing was made for it"


async def test_old_machines_are_replaced_before_they_are_too_old(world: World) -> None:
    async with world.pool(size=2, max_age_s=1000, check_s=10_000) as pool:
        await pool.filled(LIMIT_S)
        first = list(world.hypervisor.machines)
        world.pass_time(pool, 901)
        await pool.until(lambda now: now.totals.get("retired.aged") == 2, LIMIT_S)
        await pool.until(at_rest, LIMIT_S)
        assert [one.state for one in first] == [VmState.STOPPED] * 2
        assert pool.metrics().paused == 2


async def test_a_backend_without_snapshots_holds_booted_and_paused_machines(world: World) -> None:
    world.hypervisor.capabilities = Capabilities(snapshots=False, pause=True, swap_disks=True)
    world.hypervisor.faults["restore"] = AssertionError("it cannot restore")
    world.hypervisor.faults["template"] = AssertionError("it has no templates")
    async with world.pool(size=2) as pool:
        metrics = await pool.filled(LIMIT_S)
        assert [one.state for one in world.hypervisor.machines] == [VmState.PAUSED] * 2
        assert metrics.template is not None
        lease = await pool.lease("session")
        await lease.release()
        world.image = "1"
        pool.refresh()
        world.pass_time(pool, 1)
        await pool.until(lambda now: now.totals.get("retired.stale", 0) >= 1, LIMIT_S)


async def test_a_backend_without_pause_keeps_its_machines_running(world: World) -> None:
    world.hypervisor.capabilities = Capabilities(snapshots=True, pause=False, swap_disks=True)
    async with world.pool(size=1) as pool:
        await pool.filled(LIMIT_S)
        assert (await pool.lease("session")).vm.state is VmState.RUNNING
