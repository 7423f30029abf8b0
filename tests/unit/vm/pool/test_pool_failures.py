"""A pool whose machines fail, die, or are never asked for in the end."""

import threading

import anyio
import pytest

from luminaguard.errors import (
    GuestError,
    GuestLost,
    HypervisorUnavailable,
    ImageError,
    VmError,
)
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.lease import PoolLease
from luminaguard.vm.pool.metrics import PoolMetrics
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.settings import PoolSettings
from pooling import World, at_rest, lease_while, spec

pytestmark = pytest.mark.anyio

LIMIT_S = 10.0


@pytest.mark.guarantee("G6")
async def test_a_dead_machine_in_store_is_never_handed_out_and_is_replaced(world: World) -> None:
    async with world.pool() as pool:
        await pool.filled(LIMIT_S)
        dead = world.hypervisor.machines[0]
        dead.die()
        lease = await pool.lease("session")
        assert lease.vm is not dead
        assert lease.vm.state is VmState.PAUSED
        metrics = await pool.until(lambda now: now.ending == 0, LIMIT_S)
        assert metrics.failures == {"hand-out": 1}
        world.pass_time(pool, 1)
        assert (await pool.filled(LIMIT_S)).active_vms == 1


async def test_a_machine_that_does_not_answer_at_hand_out_is_passed_over(world: World) -> None:
    async with world.pool(size=1) as pool:
        await pool.filled(LIMIT_S)
        silent = world.hypervisor.machines[0]
        world.hypervisor.faults["pause"] = GuestLost("no answer")

        async def mend() -> None:
            await pool.until(lambda now: now.failures.get("hand-out", 0) > 0, LIMIT_S)
            del world.hypervisor.faults["pause"]
            world.pass_time(pool, 1)

        lease = await lease_while(pool, mend)
        assert lease.vm is not silent
        assert silent.state is VmState.STOPPED


async def test_a_leased_machine_that_dies_is_noticed_and_makes_room(world: World) -> None:
    async with world.pool(size=0, max_machines=1) as pool:
        lease = await pool.lease("session")
        world.hypervisor.machines[0].die()
        pool.look()
        with pytest.raises(GuestLost):
            lease.renew()
        another = await pool.lease("session", patience_s=LIMIT_S)
        assert another.vm.state is VmState.RUNNING
        assert pool.metrics().failures == {"leased": 1}
        await lease.release()
        assert another.vm.state is VmState.RUNNING


@pytest.mark.parametrize("moment", ["queued", "restored", "checked"])
async def test_a_cancelled_request_leaves_no_machine_behind(world: World, moment: str) -> None:
    async with world.pool(size=1 if moment == "checked" else 0, max_machines=2) as pool:
        await pool.until(at_rest, LIMIT_S)
        operation = "pause" if moment == "checked" else "restore"
        hold = world.hypervisor.holds[operation] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.lease, "session")
            await anyio.wait_all_tasks_blocked()
            if moment == "restored":
                hold.set()
                await pool.until(lambda now: now.active_vms == 1, LIMIT_S)
            tasks.cancel_scope.cancel()
        hold.set()
        world.pass_time(pool, 1)
        metrics = await pool.until(at_rest, LIMIT_S)
        assert (metrics.active_vms, metrics.queued_tasks) == (0, 0)
        assert world.alive() == metrics.size


async def test_one_failed_restore_is_tried_again_without_telling_anybody(world: World) -> None:
    async with world.pool(size=0) as pool:
        await pool.until(lambda now: now.template is not None, LIMIT_S)
        world.hypervisor.faults["restore"] = GuestLost("QEMU ended at once")

        async def mend() -> None:
            await pool.until(lambda now: now.failures.get("restore") == 1, LIMIT_S)
            pool.look()
            assert pool.metrics().failures["restore"] == 1, "it spins"
            world.hypervisor.faults.clear()
            world.pass_time(pool, 1)

        lease = await lease_while(pool, mend)
        assert lease.vm.state is VmState.RUNNING


async def test_a_host_that_cannot_run_machines_is_told_at_once_with_its_hint(world: World) -> None:
    world.hypervisor.faults["restore"] = HypervisorUnavailable("no QEMU", hint="install it")
    async with world.pool(size=0) as pool:
        with pytest.raises(HypervisorUnavailable, match="no QEMU") as raised:
            await pool.lease("session")
        assert raised.value.hint == "install it"


async def test_a_missing_image_is_told_to_everybody_who_waits(world: World) -> None:
    world.hypervisor.faults["template"] = ImageError("no image", hint="build one")
    async with world.pool() as pool:
        told: list[str] = []

        async def ask(owner: str) -> None:
            with pytest.raises(ImageError) as raised:
                await pool.lease(owner)
            told.append(raised.value.hint or "")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "one")
            tasks.start_soon(ask, "two")
        assert told == ["build one"] * 2
        del world.hypervisor.faults["template"]
        world.pass_time(pool, 30)
        assert (await pool.filled(LIMIT_S)).failures == {"template": 1}


async def test_a_defect_in_making_is_a_failure_and_not_the_end_of_the_pool(world: World) -> None:
    world.hypervisor.faults["restore"] = ZeroDivisionError("a defect")
    async with world.pool(size=0) as pool, anyio.create_task_group() as tasks:

        async def hurry() -> None:
            for failures in (1, 2):
                await pool.until(lambda now, n=failures: now.failures.get("restore") == n, LIMIT_S)
                world.pass_time(pool, 30)

        tasks.start_soon(hurry)
        with pytest.raises(VmError, match="a defect"):
            await pool.lease("session", patience_s=1000)
        world.hypervisor.faults.clear()
        world.pass_time(pool, 60)
        assert (await pool.lease("session")).vm.state is VmState.RUNNING


async def test_a_machine_unfit_for_use_is_destroyed_and_replaced_later(world: World) -> None:
    world.hypervisor.faults["exercise"] = GuestError("the guest cannot run true")
    async with world.pool(size=1) as pool:
        await pool.until(lambda now: now.failures.get("exercise") == 1, LIMIT_S)
        await pool.until(lambda now: now.ending == 0, LIMIT_S)
        assert world.alive() == 0
        world.hypervisor.faults.clear()
        world.pass_time(pool, 1)
        assert (await pool.filled(LIMIT_S)).totals["retired.failed"] == 1


async def test_closing_refuses_who_waits_and_ends_what_is_leased(world: World) -> None:
    problems: list[VmError] = []
    leases: list[PoolLease] = []
    async with anyio.create_task_group() as tasks, world.pool(size=0, max_machines=1) as pool:
        leases.append(await pool.lease("holder"))

        async def wait() -> None:
            try:
                await pool.lease("waiter")
            except VmError as problem:
                problems.append(problem)

        tasks.start_soon(wait)
        await pool.until(lambda now: now.queued_tasks == 1, LIMIT_S)
    assert "the pool is closed" in str(problems[0])
    (lease,) = leases
    assert lease.vm.state is VmState.STOPPED
    with pytest.raises(GuestLost):
        lease.renew()
    await lease.release()


async def test_a_closed_pool_says_so(world: World) -> None:
    async with world.pool() as pool:
        await pool.filled(LIMIT_S)
    with pytest.raises(VmError, match="the pool is closed"):
        await pool.lease("late")
    metrics = pool.metrics()
    assert (metrics.active_vms, metrics.queued_tasks, metrics.paused) == (0, 0, 0)


async def test_closing_in_the_middle_of_everything_leaves_nothing(world: World) -> None:
    hold = world.hypervisor.holds["exercise"] = anyio.Event()
    async with world.pool(size=2) as pool:
        await pool.until(lambda now: now.starting == 2, LIMIT_S)
        world.hypervisor.holds["restore"] = hold
    assert world.alive() == 0


async def test_an_error_inside_a_pool_comes_out_as_itself(world: World) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with world.pool():
            raise KeyError("mine")


async def test_a_machine_that_cannot_be_stopped_is_counted(world: World) -> None:
    async with world.pool(size=0) as pool:
        lease = await pool.lease("session")
        machine = world.hypervisor.machines[0]
        stop, machine.stop = machine.stop, _refuse  # type: ignore[method-assign]
        await lease.release()
        assert pool.metrics().failures == {"stop": 1}
        await stop()


async def _refuse() -> None:
    raise VmError("it does not end")


async def test_watchers_are_told_and_cannot_hurt(world: World) -> None:
    told = threading.Event()
    pool = MachinePool(world.hypervisor, spec(), PoolSettings(size=1), memory=world.memory)

    def full_disk(_: PoolMetrics) -> None:
        raise OSError("no space left")

    def told_that_it_is_full(metrics: PoolMetrics) -> None:
        if metrics.paused == metrics.size == 1:
            told.set()

    pool.watch(full_disk)
    pool.watch(told_that_it_is_full)
    async with pool:
        assert await anyio.to_thread.run_sync(told.wait, LIMIT_S)
        assert pool.metrics().failures["publish"] > 0


async def test_a_store_that_cannot_be_filled_says_what_failed(world: World) -> None:
    world.hypervisor.faults["restore"] = GuestLost("QEMU ended at once")
    async with world.pool() as pool:
        with pytest.raises(VmError, match="0 of 2 in store") as raised:
            await pool.filled(0.05)
        assert isinstance(raised.value.__cause__, GuestLost)
