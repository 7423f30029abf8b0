"""A pool of real machines: exclusive, fresh, healed after kills, and gone with its process."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from luminaguard.domain.execution import Execution
from luminaguard.errors import GuestLost
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.hypervisor import MicroVM, Probe, Template
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.metrics import PoolMetrics
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.publish import published_pools
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.spec import VmSpec

pytestmark = [pytest.mark.vm, pytest.mark.anyio]

HOLDER = Path(__file__).with_name("pool_holder.py")
LIMIT_S = 60.0


class Renamed:
    """The real hypervisor, with a name before each template's key: a new one costs no boot."""

    def __init__(self, qemu: QemuHypervisor) -> None:
        self._qemu = qemu
        self.name = "first"
        self.capabilities = qemu.capabilities

    async def probe(self) -> Probe:
        return await self._qemu.probe()

    async def boot(self, spec: VmSpec) -> MicroVM:
        return await self._qemu.boot(spec)

    async def template(self, spec: VmSpec) -> Template:
        template = await self._qemu.template(spec)
        return replace(template, key=f"{self.name}-{template.key}")

    async def restore(self, template: Template) -> MicroVM:
        return await self._qemu.restore(replace(template, key=template.key.partition("-")[2]))


@dataclass
class Pools:
    """Pools over the run's template."""

    renamed: Renamed
    spec: VmSpec

    @asynccontextmanager
    async def open(self, **settings: int) -> AsyncGenerator[MachinePool]:
        """Open a pool, and see that it leaves no process when it closes."""
        chosen = PoolSettings(**{"size": 1, "max_machines": 4, "check_s": 1000, **settings})
        pids: set[int] = set()
        async with MachinePool(self.renamed, self.spec, chosen) as pool:
            await pool.filled(LIMIT_S)
            yield pool
            pids = {held.vm.pid for held in pool._crew.held.values()}
        assert not [pid for pid in pids if lives(pid)]


@pytest.fixture
def pools(qemu: QemuHypervisor, qemu_template: Template, vm_spec: VmSpec) -> Pools:
    return Pools(Renamed(qemu), vm_spec)


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return source.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


async def run(vm: MicroVM, *argv: str) -> bytes:
    if vm.state is VmState.PAUSED:
        await vm.resume()
    report = await vm.execute(Execution(argv=argv, timeout_s=30))
    assert report.exit_code == 0, report.stderr
    return report.stdout


async def hand_over(vm: MicroVM) -> None:
    """Do what a session does first."""
    if vm.state is VmState.PAUSED:
        await vm.resume()
    await vm.reseed(secrets.token_bytes(64), time.time_ns())


@pytest.mark.guarantee("G6")
async def test_two_leases_share_no_machine_no_file_and_no_randomness(pools: Pools) -> None:
    async with pools.open(size=2) as pool:
        one, two = await pool.lease("one"), await pool.lease("two")
        assert one.vm.state is two.vm.state is VmState.PAUSED
        assert one.timings_ms["restore_ms"] == 0
        assert one.vm.pid != two.vm.pid
        drawn: list[bytes] = []
        for lease in (one, two):
            await hand_over(lease.vm)
            drawn.append(await run(lease.vm, "head", "-c", "32", "/dev/urandom"))
        assert drawn[0] != drawn[1]
        await run(one.vm, "sh", "-c", "echo secret > /tmp/mine")
        assert await run(two.vm, "sh", "-c", "ls /tmp; echo looked") == b"looked\n"
        await one.release()
        assert not lives(one.vm.pid)
        assert await run(two.vm, "echo", "still here") == b"still here\n"
        three = await pool.lease("one")
        assert three.vm.id not in {one.vm.id, two.vm.id}


@pytest.mark.guarantee("G6")
async def test_a_killed_machine_in_store_is_never_handed_out_and_is_replaced(pools: Pools) -> None:
    async with pools.open(size=2) as pool:
        victim = min(pool._crew.held.items())[1].vm
        os.kill(victim.pid, signal.SIGKILL)
        lease = await pool.lease("owner")
        assert lease.vm.id != victim.id
        await hand_over(lease.vm)
        assert await run(lease.vm, "echo", "alive") == b"alive\n"
        metrics = await pool.filled(LIMIT_S)
        assert metrics.failures == {"hand-out": 1}


async def test_a_killed_machine_in_use_is_lost_to_its_owner_and_the_pool_heals(
    pools: Pools,
) -> None:
    async with pools.open(size=1, max_machines=2) as pool:
        lease = await pool.lease("owner")
        await hand_over(lease.vm)
        os.kill(lease.vm.pid, signal.SIGKILL)
        with pytest.raises(GuestLost):
            await run(lease.vm, "true")
        assert lease.vm.state is VmState.STOPPED
        with pytest.raises(GuestLost):
            lease.renew()
        metrics = await pool.until(lambda now: now.active_vms == 0, LIMIT_S)
        assert metrics.failures == {"leased": 1}
        again = await pool.lease("owner")
        await hand_over(again.vm)
        assert await run(again.vm, "echo", "healed") == b"healed\n"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_a_pool_ends_with_its_process_however_that_ends(
    vm_directories: tuple[Path, Path],
    tmp_path: Path,
    guest_image: GuestImage,
    qemu_template: Template,
    end: signal.Signals,
) -> None:
    runtime = tmp_path / "run"
    where = [str(guest_image.directory), guest_image.digest, str(vm_directories[0]), str(runtime)]
    holder = subprocess.Popen(  # noqa: ASYNC220 - its output is one line
        [sys.executable, str(HOLDER), *where], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        line = await anyio.to_thread.run_sync(holder.stdout.readline)
        _, *machines = map(int, line.split())
        assert len(machines) == 2
        assert all(lives(pid) for pid in machines)
        assert [one.pid for one in published_pools(runtime)] == [holder.pid]
        holder.send_signal(end)
        holder.wait(LIMIT_S)
        with anyio.fail_after(10):
            while any(lives(pid) for pid in machines):  # noqa: ASYNC110 - the kernel ends them
                await anyio.sleep(0.02)
        assert published_pools(runtime) == []
        assert list((runtime / "pools").iterdir()) == []
    finally:
        holder.kill()
        holder.communicate(timeout=LIMIT_S)


@pytest.mark.guarantee("G6")
async def test_a_machine_whose_owner_process_was_killed_is_destroyed(pools: Pools) -> None:
    async with pools.open(size=1) as pool:
        owner = await anyio.open_process(["/bin/sleep", "300"])
        try:
            lease = await pool.lease("owner", pid=owner.pid)
            os.kill(owner.pid, signal.SIGKILL)
            await pool.until(lambda now: now.totals.get("retired.orphaned") == 1, LIMIT_S)
            await pool.until(lambda now: now.ending == 0, LIMIT_S)
            assert not lives(lease.vm.pid)
        finally:
            await owner.aclose()


@pytest.mark.guarantee("G6")
async def test_a_new_template_takes_over_without_a_gap(pools: Pools) -> None:
    async with pools.open(size=1) as pool:
        (old,) = [held.vm for held in pool._crew.held.values()]
        pools.renamed.name = "new"
        pool.refresh()
        gap: list[PoolMetrics] = []

        def taken_over(now: PoolMetrics) -> bool:
            if now.paused == 0:
                gap.append(now)
            return now.totals.get("retired.stale") == 1

        metrics = await pool.until(taken_over, LIMIT_S)
        assert gap == []
        assert metrics.paused == 1
        lease = await pool.lease("owner")
        assert lease.vm.id != old.id
        assert metrics.template is not None
        assert metrics.template.startswith("new")
        await hand_over(lease.vm)
        assert await run(lease.vm, "echo", "new") == b"new\n"
        await pool.until(lambda now: now.ending == 0, LIMIT_S)
        assert not lives(old.pid)


async def test_a_cancelled_request_leaves_no_process(pools: Pools) -> None:
    async with pools.open(size=0) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.lease, "owner")
            await pool.until(lambda now: now.starting == 1, LIMIT_S)
            tasks.cancel_scope.cancel()
        metrics = await pool.until(lambda now: now.starting + now.ending == 0, LIMIT_S)
        assert (metrics.active_vms, metrics.queued_tasks, metrics.paused) == (0, 0, 0)
        assert pool._crew.held == {}
        assert metrics.totals["ended"] == metrics.totals["spawned"]


async def test_the_memory_of_machines_in_store_is_measured(pools: Pools) -> None:
    async with pools.open(size=1) as pool:
        metrics = await pool.until(
            lambda now: now.memory_used_bytes not in (0, now.clone_bytes), LIMIT_S
        )
        (machine,) = pool._state.machines.values()
        assert machine.used_bytes is not None
        assert 5 * 1024**2 < machine.used_bytes < 400 * 1024**2
        assert metrics.memory_limit_bytes is not None
        assert metrics.memory_limit_bytes > metrics.memory_used_bytes
