"""Machines killed, disks filled, a thousand hand-outs: nothing is lost, nothing grows."""

import gc
import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from luminaguard.audit.log import AuditLog
from luminaguard.config import Settings, VmSettings
from luminaguard.domain.approval import End
from luminaguard.domain.execution import Execution
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.errors import LuminaGuardError
from luminaguard.runtime import Session
from luminaguard.testing.approver import FixedApprover
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.backends.qemu.machine import QemuMachine
from luminaguard.vm.direct import DirectSource
from luminaguard.vm.hypervisor import MicroVM, Probe, Template
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.spec import VmSpec

pytestmark = [pytest.mark.anyio, pytest.mark.vm]

WORK = "import os; open('made.txt', 'w').write('made'); os.unlink('stale.txt')"
BEFORE, AFTER = {"stale.txt"}, {"made.txt"}


class Counted:
    """The shared hypervisor, remembering the machines that it made."""

    name = QemuHypervisor.name
    capabilities = QemuHypervisor.capabilities

    def __init__(self, other: QemuHypervisor) -> None:
        self._other = other
        self.made: list[MicroVM] = []

    async def probe(self) -> Probe:
        return await self._other.probe()

    async def boot(self, spec: VmSpec) -> QemuMachine:
        return await self._other.boot(spec)

    async def template(self, spec: VmSpec) -> Template:
        return await self._other.template(spec)

    async def restore(self, template: Template) -> QemuMachine:
        machine = await self._other.restore(template)
        self.made.append(machine)
        return machine

    def living(self) -> list[int]:
        return [vm.pid for vm in self.made if vm.state is not VmState.STOPPED]


def settings(root: Path) -> Settings:
    return Settings(
        state_dir=root / "state",
        cache_dir=root / "cache",
        config_file=root / "config" / "config.toml",
        vm=VmSettings(scratch_mib=64),
    )


def tree(path: Path) -> Path:
    path.mkdir()
    (path / "stale.txt").write_text("stale\n")
    return path


def approving() -> FixedApprover:
    return FixedApprover([End.APPROVED])


async def test_machines_killed_at_random_fail_their_calls_whole_and_the_pool_heals(
    qemu: QemuHypervisor, qemu_template: Template, tmp_path: Path
) -> None:
    chance = random.Random(20_261_121)
    own = settings(tmp_path)
    log = AuditLog.open(own.state_dir)
    trees = [tree(tmp_path / f"tree-{number}") for number in range(8)]
    ended: dict[int, Outcome] = {}
    killed = 0

    async def one(pool: MachinePool, number: int) -> None:
        session = Session(trees[number], approver=approving(), settings=own, machines=pool, log=log)
        async with session:
            ended[number] = await session.call("python", code=WORK)

    async def kill_some(pids: list[int]) -> None:
        nonlocal killed
        for pid in chance.sample(pids, k=min(3, len(pids))):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1

    counted = Counted(qemu)
    async with MachinePool(counted, qemu_template.spec, PoolSettings(size=2)) as pool:
        await pool.filled(120)
        async with anyio.create_task_group() as tasks:
            for number in range(len(trees)):
                tasks.start_soon(one, pool, number)
            with anyio.fail_after(240):
                while len(ended) < len(trees):
                    await pool.next_change().wait()
                    if killed < 6:
                        await kill_some(counted.living())
        healed = await pool.filled(120)
    log.close()
    assert killed >= 3
    assert healed.active_vms == healed.queued_tasks == 0
    for number, outcome in ended.items():
        there = set(os.listdir(trees[number]))
        if outcome.kind is OutcomeKind.COMMITTED:
            assert there == AFTER
        else:
            assert outcome.kind is OutcomeKind.FAILED
            assert outcome.error_code in {"guest-lost", "template", "vm", "vm-state"}
            assert there == BEFORE


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of its own with 24 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "small", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.root
async def test_a_full_disk_fails_the_call_whole_and_the_next_one_works_when_there_is_room(
    qemu: QemuHypervisor, qemu_template: Template, tmp_path: Path, small_disk: Path
) -> None:
    project = tree(tmp_path / "project")
    own = settings(small_disk)
    source = DirectSource(qemu, lambda: qemu_template.spec)
    big = "import os; open('made.txt', 'wb').write(os.urandom(20 << 20)); os.unlink('stale.txt')"
    ballast = small_disk / "ballast"
    async with Session(project, approver=approving(), settings=own, machines=source) as session:
        await session.exec(["true"])
        ballast.write_bytes(bytes(8 << 20))
        failed = await session.call("python", code=big)
        assert failed.kind is OutcomeKind.FAILED
        assert set(os.listdir(project)) == BEFORE
        ballast.unlink()
        assert (await session.call("python", code=WORK)).kind is OutcomeKind.COMMITTED
    assert set(os.listdir(project)) == AFTER


@pytest.mark.root
async def test_without_room_for_a_record_nothing_runs(
    qemu: QemuHypervisor, qemu_template: Template, tmp_path: Path, small_disk: Path
) -> None:
    project = tree(tmp_path / "project")
    own = replace(settings(small_disk), cache_dir=tmp_path / "cache")
    source = DirectSource(qemu, lambda: qemu_template.spec)
    async with Session(project, approver=approving(), settings=own, machines=source) as session:
        await session.exec(["true"])
        with suppress(OSError):
            (small_disk / "ballast").write_bytes(bytes(32 << 20))
        with pytest.raises(LuminaGuardError, match="cannot be written"):
            await session.call("python", code=WORK)
        (small_disk / "ballast").unlink()
    assert set(os.listdir(project)) == BEFORE


def _own_memory_mib() -> float:
    gc.collect()
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if "Rss:" in line).split()[1]) / 1024


@pytest.mark.long
async def test_a_thousand_hand_outs_in_a_row_leave_no_growth(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    seen: list[tuple[float, int]] = []
    drawn: set[bytes] = set()
    async with MachinePool(qemu, qemu_template.spec, PoolSettings(size=2)) as pool:
        for number in range(1_000):
            lease = await pool.lease("soak")
            await lease.vm.resume()
            await lease.vm.reseed(secrets.token_bytes(64), time.time_ns())
            report = await lease.vm.execute(Execution(python="import os; print(os.urandom(8))"))
            drawn.add(report.stdout)
            await lease.release()
            if number % 100 == 99:
                await pool.filled(120)
                seen.append((_own_memory_mib(), len(os.listdir("/proc/self/fd"))))
        assert pool.metrics().totals["handed_out"] == 1_000
    assert len(drawn) == 1_000
    memory, files = zip(*seen, strict=True)
    assert memory[-1] - memory[0] < 16
    assert files[-1] <= files[0] + 4
