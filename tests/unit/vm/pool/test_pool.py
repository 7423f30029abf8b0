"""A pool over fake machines: what its users see, also when everything goes wrong."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

import anyio
import pytest

from luminaguard.errors import (
    ConfigError,
    GuestError,
    GuestLost,
    HypervisorUnavailable,
    ImageError,
    PoolFull,
    TemplateError,
    VmError,
)
from luminaguard.vm.hypervisor import Capabilities
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.lease import PoolLease
from luminaguard.vm.pool.metrics import PoolMetrics
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.pool.telling import get_pool_metrics
from pooling import World, spec

pytestmark = pytest.mark.anyio

LIMIT_S = 10.0


async def lease_while(pool: MachinePool, meanwhile: Callable[[], Awaitable[None]]) -> PoolLease:
    """Return a lease that is asked for while something else goes on."""
    leases: list[PoolLease] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(meanwhile)
        leases.append(await pool.lease("session"))
    return leases[0]


def at_rest(metrics: PoolMetrics) -> bool:
    """Full and quiet."""
    return metrics.paused == metrics.size and not metrics.starting and not metrics.ending


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
        lease = await pool.lease("session", pid=os.getpid())
        await lease.release()
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
        await pool.until(lambda now: now.totals.get("retired.stale", 0) >= 1, LIMIT_S)


async def test_a_backend_without_pause_keeps_its_machines_running(world: World) -> None:
    world.hypervisor.capabilities = Capabilities(snapshots=True, pause=False, swap_disks=True)
    async with world.pool(size=1) as pool:
        await pool.filled(LIMIT_S)
        assert (await pool.lease("session")).vm.state is VmState.RUNNING


async def test_closing_refuses_who_waits_and_ends_what_is_leased(world: World) -> None:
    problems: list[VmError] = []
    leases: list[PoolLease] = []
    async with anyio.create_task_group() as tasks, world.pool(size=0, max_machines=1) as pool:
        lease = await pool.lease("holder")

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


async def test_a_pool_that_this_host_cannot_hold_is_refused_when_it_opens(world: World) -> None:
    world.memory.total = 2 * 1024**3
    with pytest.raises(ConfigError, match=r"pool.size = 60 needs about") as raised:
        async with world.pool(size=60, max_machines=60):
            pytest.fail("it opened")
    assert "at most 14" in (raised.value.hint or "")


async def test_a_store_that_cannot_be_filled_says_what_failed(world: World) -> None:
    world.hypervisor.faults["restore"] = GuestLost("QEMU ended at once")
    async with world.pool() as pool:
        with pytest.raises(VmError, match="0 of 2 in store") as raised:
            await pool.filled(0.05)
        assert isinstance(raised.value.__cause__, GuestLost)
