"""A pool over fake machines: what its users see."""

import gc
import os
import signal
import sys
import threading

import anyio
import pytest

from luminaguard.errors import (
    ConfigError,
    GuestLost,
    PoolFull,
    VmError,
)
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.telling import get_pool_metrics
from pooling import World, at_rest, lease_while

pytestmark = pytest.mark.anyio

LIMIT_S = 10.0


async def test_machines_in_store_were_exercised_once_and_rest(world: World) -> None:
    async with world.pool(size=3) as pool:
        metrics = await pool.filled(LIMIT_S)
        assert (metrics.paused, metrics.active_vms) == (3, 0)
        assert [one.state for one in world.hypervisor.machines] == [VmState.PAUSED] * 3
        assert [one.exercised for one in world.hypervisor.machines] == [1] * 3


@pytest.mark.guarantee("G6")
async def test_a_machine_is_handed_out_once_and_destroyed_after(world: World) -> None:
    async with world.pool() as pool:
        seen: set[str] = set()
        for turn in range(20):
            lease = await pool.lease(f"session-{turn}")
            assert lease.vm.id not in seen
            assert lease.vm.state is VmState.PAUSED or lease.vm.state is VmState.RUNNING
            seen.add(lease.vm.id)
            await lease.release()
            assert lease.vm.state is VmState.STOPPED
            await lease.release()
        world.pass_time(pool, 1)
        metrics = await pool.until(at_rest, LIMIT_S)
        assert (metrics.active_vms, metrics.queued_tasks) == (0, 0)


async def test_figures_follow_what_happens_and_return_to_zero_after_a_load(world: World) -> None:
    async with world.pool(max_machines=5) as pool:
        most = [0, 0]

        async def session(number: int) -> None:
            lease = await pool.lease(f"session-{number}")
            now = pool.metrics()
            most[:] = max(most[0], now.active_vms), max(most[1], now.queued_tasks)
            assert now.active_vms <= 5
            lease.renew()
            await anyio.lowlevel.checkpoint()
            await lease.release()

        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(session, number)
        world.pass_time(pool, 1)
        metrics = await pool.until(at_rest, LIMIT_S)
        assert most[0] > 1
        assert most[1] > 10
        assert (metrics.active_vms, metrics.queued_tasks) == (0, 0)
        assert metrics.totals["handed_out"] == metrics.hand_out_ms.n == 60
        assert metrics.totals["spawned"] == len(world.hypervisor.machines)
        assert metrics.totals["ended"] == len(world.hypervisor.machines) - metrics.size
        assert metrics.failures == {}


async def test_an_empty_store_makes_machines_on_demand_and_says_what_that_took(
    world: World,
) -> None:
    async with world.pool(size=0) as pool:
        hold = world.hypervisor.holds["restore"] = anyio.Event()

        async def let_go() -> None:
            await pool.until(lambda now: now.starting == 1, LIMIT_S)
            await anyio.wait_all_tasks_blocked()
            world.now_s += 0.5
            hold.set()

        lease = await lease_while(pool, let_go)
        assert lease.vm.state is VmState.RUNNING
        assert world.hypervisor.machines[0].exercised == 0
        assert lease.timings_ms["restore_ms"] == pytest.approx(500)
        assert lease.timings_ms["queue_ms"] == pytest.approx(0)
        await lease.release()
        assert (await pool.until(at_rest, LIMIT_S)).paused == 0


async def test_a_machine_from_the_store_costs_no_restore(world: World) -> None:
    async with world.pool() as pool:
        await pool.filled(LIMIT_S)
        world.now_s += 7
        lease = await pool.lease("session")
        assert lease.timings_ms == {"queue_ms": 0, "template_ms": 0, "restore_ms": 0}


@pytest.mark.guarantee("G6")
async def test_a_lease_that_is_forgotten_is_taken_back(world: World) -> None:
    async with world.pool(size=0) as pool:
        lease = await pool.lease("session")
        machine = lease.vm
        del lease
        gc.collect()
        metrics = await pool.until(lambda now: now.active_vms == 0, LIMIT_S)
        assert metrics.totals["retired.dropped"] == 1
        await pool.until(at_rest, LIMIT_S)
        assert machine.state is VmState.STOPPED


async def test_a_lease_forgotten_in_another_thread_is_taken_back(world: World) -> None:
    async with world.pool(size=0) as pool:
        leases = [await pool.lease("session")]
        thread = threading.Thread(target=leases.clear)
        thread.start()
        thread.join(LIMIT_S)
        gc.collect()
        pool.look()
        assert pool.metrics().active_vms == 0


@pytest.mark.guarantee("G6")
@pytest.mark.skipif(sys.platform != "linux", reason="needs process handles of Linux")
async def test_the_death_of_the_owning_process_destroys_its_machine(world: World) -> None:
    owner = await anyio.open_process([sys.executable, "-c", "input()"])
    try:
        async with world.pool(size=0) as pool:
            lease = await pool.lease("session", pid=owner.pid)
            assert pool.metrics().active_vms == 1
            owner.send_signal(signal.SIGKILL)
            metrics = await pool.until(lambda now: now.active_vms == 0, LIMIT_S)
            assert metrics.totals["retired.orphaned"] == 1
            await pool.until(at_rest, LIMIT_S)
            assert lease.vm.state is VmState.STOPPED
            with pytest.raises(GuestLost):
                lease.renew()
    finally:
        await owner.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="needs process handles of Linux")
async def test_owner_processes_leave_no_descriptors(world: World) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with world.pool(size=0) as pool:
        await pool.until(at_rest, LIMIT_S)
        opened = len(os.listdir("/proc/self/fd"))
        lease = await pool.lease("session", pid=os.getpid())
        assert len(os.listdir("/proc/self/fd")) == opened + 1
        await lease.release()
        await anyio.wait_all_tasks_blocked()
        assert len(os.listdir("/proc/self/fd")) == opened
        held = await pool.lease("session", pid=os.getpid())
        with pytest.raises(VmError, match="has ended"):
            await pool.lease("session", pid=2**22 + 1)
        assert held.vm.state is VmState.RUNNING
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_lease_runs_out_unless_it_is_renewed(world: World) -> None:
    async with world.pool(size=0, lease_s=100) as pool:
        kept, left = await pool.lease("one"), await pool.lease("two")
        world.pass_time(pool, 90)
        kept.renew()
        world.pass_time(pool, 20)
        await pool.until(lambda now: now.ending == 0, LIMIT_S)
        assert (kept.vm.state, left.vm.state) == (VmState.RUNNING, VmState.STOPPED)
        with pytest.raises(GuestLost, match="too long"):
            left.renew()
        world.now_s += 200
        with pytest.raises(GuestLost, match="too long"):
            kept.renew()
        assert pool.metrics().totals["retired.expired"] == 2


async def test_nobody_waits_longer_than_their_patience(world: World) -> None:
    async with world.pool(size=0, max_machines=1) as pool:
        lease = await pool.lease("first")
        async with anyio.create_task_group() as tasks:

            async def late() -> None:
                with pytest.raises(PoolFull, match=r"all 1 that may run are in use") as raised:
                    await pool.lease("second", patience_s=5)
                assert "max_machines" in (raised.value.hint or "")

            tasks.start_soon(late)
            await pool.until(lambda now: now.queued_tasks == 1, LIMIT_S)
            world.pass_time(pool, 6)
        assert pool.metrics().totals["refused.late"] == 1
        await lease.release()


async def test_a_full_queue_refuses_at_once(world: World) -> None:
    async with world.pool(size=0, max_machines=1, max_waiting=2) as pool:
        await pool.lease("holder")
        async with anyio.create_task_group() as tasks:
            for owner in ("one", "two"):
                tasks.start_soon(pool.lease, owner)
            await pool.until(lambda now: now.queued_tasks == 2, LIMIT_S)
            with pytest.raises(PoolFull, match="2 requests for a machine are waiting already"):
                await pool.lease("three")
            tasks.cancel_scope.cancel()
        assert pool.metrics().queued_tasks == 0


async def test_short_memory_holds_machines_back_and_says_so(world: World) -> None:
    async with world.pool(size=0, memory_reserve_mib=1024) as pool:
        world.memory.free = 1100 * 1024**2
        async with anyio.create_task_group() as tasks:

            async def late() -> None:
                with pytest.raises(PoolFull, match=r"memory is short \(1100 MiB free, 1024"):
                    await pool.lease("session", patience_s=5)

            tasks.start_soon(late)
            await pool.until(lambda now: now.queued_tasks == 1, LIMIT_S)
            world.pass_time(pool, 6)
        assert world.hypervisor.machines == []


async def test_the_metrics_of_this_process_have_a_name_of_their_own(world: World) -> None:
    with pytest.raises(VmError, match="no such pool"):
        get_pool_metrics()
    async with world.pool(size=1) as pool:
        await pool.filled(LIMIT_S)
        assert get_pool_metrics().paused == 1
        async with World().pool(size=0):
            with pytest.raises(VmError, match="2 pools run"):
                get_pool_metrics()
            assert get_pool_metrics(pool.id).size == 1


async def test_a_pool_that_this_host_cannot_hold_is_refused_when_it_opens(world: World) -> None:
    world.memory.total = 2 * 1024**3
    with pytest.raises(ConfigError, match=r"pool.size = 60 needs about") as raised:
        async with world.pool(size=60, max_machines=60):
            pytest.fail("it opened")
    assert "at most 14" in (raised.value.hint or "")
