"""Taking more than a machine's share, tried from QEMU's place: what ends it, and where."""

import os
import secrets
import time
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from jailed import LIMITS, MIB, TAKEN, Stay, inside, perl
from luminaguard.domain.execution import Execution
from luminaguard.errors import GuestLost
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.jail import Limits
from luminaguard.vm.hypervisor import Template

pytestmark = [pytest.mark.anyio, pytest.mark.vm]

BOMB = (
    "perl -e 'for (1..400) { my $p = fork(); last unless defined $p; sleep 60 if !$p; $n++ } "
    'print STDERR "BORN $n\\n"; kill 9, -1\''
)
HOG = 'perl -e \'my $hog = "x" x (200 << 20); print STDERR "HELD\\n"\'; echo SURVIVED'
BUSY = "perl -e 'while ((times)[0] < 0.02) { }'"
ROOMY = Limits(address_space_bytes=1024 * MIB, file_bytes=MIB, processes=1000)
WEIGHTS = ("cpu.weight", "cpu.shares")
SLOW = replace(TAKEN, cpus=0.04)
"""Less than even a crowded host gives."""
AMPLE = CgroupLimits(memory_bytes=2048 * MIB, processes=1000, cpus=2.0, weight=50)


def fact(stay: Stay, *names: str) -> str:
    """Return what the machine's cgroup shows in the first of these files that it has."""
    for directory in stay.berth.cgroup.directories:
        for name in names:
            if (directory / name).exists():
                return (directory / name).read_text()
    raise AssertionError(f"no {names} in {stay.berth.cgroup.directories}: {stay.berth.cgroup}")


def count(text: str, name: str) -> int:
    """Return the number behind a name in a cgroup's file of counters."""
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.mark.guarantee("G8")
async def test_a_fork_bomb_ends_at_its_own_process_limit(tmp_path: Path) -> None:
    said = await inside(BOMB, tmp_path, programs=(perl(),), taken=AMPLE)
    assert 0 < int(said.partition("BORN ")[2].split()[0]) < LIMITS.processes


async def test_a_memory_hog_ends_at_its_own_address_space(tmp_path: Path) -> None:
    small = Limits(address_space_bytes=100 * MIB, file_bytes=MIB)
    said = await inside(HOG, tmp_path, programs=(perl(),), limits=small, taken=AMPLE)
    assert "HELD" not in said
    assert said.endswith("SURVIVED")


@pytest.mark.root
@pytest.mark.guarantee("G8")
async def test_a_fork_bomb_ends_in_its_cgroup(tmp_path: Path) -> None:
    seen: list[int] = []
    said = await inside(
        BOMB,
        tmp_path,
        programs=(perl(),),
        limits=ROOMY,
        afterwards=lambda stay: seen.append(count(fact(stay, "pids.events"), "max")),
    )
    assert 0 < int(said.partition("BORN ")[2].split()[0]) < TAKEN.processes
    assert seen[0] > 0


@pytest.mark.root
@pytest.mark.guarantee("G8")
async def test_a_memory_hog_is_killed_in_its_cgroup(tmp_path: Path) -> None:
    killed: list[bool] = []

    def look(stay: Stay) -> None:
        killed.append(stay.berth.cgroup.ran_out_of_memory())

    said = await inside(HOG, tmp_path, programs=(perl(),), limits=ROOMY, afterwards=look)
    assert "HELD" not in said
    await inside("true", tmp_path, afterwards=look)
    assert killed == [True, False]


@pytest.mark.root
async def test_a_machine_that_outgrows_its_cgroup_is_said_to_have(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as machine:
        await machine.reseed(secrets.token_bytes(64), time.time_ns())
        for directory in machine._launched.cgroup.directories:
            for name in ("memory.max", "memory.limit_in_bytes"):
                if (directory / name).exists():
                    await anyio.Path(directory / name).write_text(str(40 * MIB))
        with pytest.raises(GuestLost, match="more memory than it may"):
            await machine.execute(Execution(argv=("python3", "-c", "x = bytearray(100 << 20)")))


@pytest.mark.root
async def test_a_busy_machine_is_slowed_down_in_its_cgroup(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def look(stay: Stay) -> None:
        seen.append((count(fact(stay, "cpu.stat"), "nr_throttled"), fact(stay, *WEIGHTS)))

    await inside(BUSY, tmp_path, programs=(perl(),), limits=ROOMY, taken=SLOW, afterwards=look)
    throttled, weight = seen[0]
    assert throttled > 0
    assert int(weight) in {50, 512}  # half of everybody else's, in either interface's words


async def test_it_sees_no_cgroup_but_its_own_and_no_file_of_it(tmp_path: Path) -> None:
    said = await inside("cat /proc/self/cgroup; echo MOUNTS; cat /proc/mounts", tmp_path)
    own, _, mounts = said.partition("MOUNTS")
    assert {line.split(":", 2)[2] for line in own.splitlines() if line} == {"/"}
    assert "cgroup" not in mounts


async def test_it_can_neither_dump_nor_lock_nor_open_without_end(tmp_path: Path) -> None:
    said = await inside("cat /proc/self/limits", tmp_path)
    limits = {line[:26].strip(): line[26:].split()[:2] for line in said.splitlines()}
    for name in ("Max core file size", "Max locked memory", "Max msgqueue size"):
        assert limits[name] == ["0", "0"]
    assert limits["Max open files"] == ["256", "256"]
    assert limits["Max file size"] == [str(LIMITS.file_bytes)] * 2


async def test_a_machine_dies_before_the_users_own_programs(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as machine:
        score = await anyio.Path(f"/proc/{machine.pid}/oom_score_adj").read_text()
        assert int(score) == 500
        assert "process-limit" in machine.isolation.jail.layers


@pytest.mark.root
@pytest.mark.guarantee("G8")
async def test_every_process_of_a_machine_is_in_its_cgroup_from_the_start(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as machine:
        assert "cgroup-limits" in machine.isolation.jail.layers
        cgroup = machine._launched.cgroup
        monitors = {machine._launched.process._monitor.pid, machine._launched.process._first}
        for directory in cgroup.directories:
            listed = await anyio.Path(directory / "cgroup.procs").read_text()
            inside_it = {int(line) for line in listed.split()}
            assert {machine.pid, *monitors} <= inside_it
            assert os.getpid() not in inside_it
    assert not any(directory.exists() for directory in cgroup.directories)
