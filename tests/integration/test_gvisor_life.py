"""gVisor machines come, go and are attacked: they hold, and nothing of them stays behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from luminaguard.domain.execution import Execution
from luminaguard.domain.harvest import FileBytes, UpperFile, UpperRecord
from luminaguard.domain.isolation import Tier
from luminaguard.errors import GuestLost, HypervisorUnavailable, ImageError, VmStateError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.gvisor.backend import GvisorHypervisor
from luminaguard.vm.hypervisor import MicroVM
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.roots import Roots
from luminaguard.vm.spec import VmSpec
from rooted import WORKSPACE, furnished, imaged_disks, lives, reseeded, shell, small_disks

pytestmark = [
    pytest.mark.vm,
    pytest.mark.anyio,
    pytest.mark.skipif(
        shutil.which("runsc") is None,
        reason="gVisor's runsc is not installed: apt-get install runsc",
    ),
]

HOLDER = Path(__file__).with_name("rooted_holder.py")
GONE_LIMIT_S = 10.0


def marked(runtime: Path) -> list[int]:
    """Return the processes that name a machine's directory below `runtime`."""
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry != str(os.getpid()):
            with suppress(OSError):
                text = Path("/proc", entry, "cmdline").read_bytes()
                if f"{runtime}/gvisor/luminaguard-".encode() in text:
                    found.append(int(entry))
    return found


def wait_until_gone(runtime: Path, others: Sequence[int] = ()) -> None:
    limit_s = time.monotonic() + GONE_LIMIT_S
    while (
        left := [pid for pid in marked(runtime) if pid not in others]
    ) and time.monotonic() < limit_s:
        time.sleep(0.02)
    assert left == []


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with small_disks(tmp_path_factory.mktemp("gvisor-life")) as made:
        yield made


@pytest.fixture(scope="module")
async def machine(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, disks: tuple[int, int]
) -> AsyncIterator[MicroVM]:
    """One for all tests that leave it as it was."""
    async with furnished(gvisor, vm_spec, disks) as made:
        yield made


@pytest.mark.parametrize("filesystem", ["squashfs", "erofs"])
async def test_the_workspace_comes_in_and_its_changes_come_out_from_either_image(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, tmp_path: Path, filesystem: str
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.txt").write_text("old\n")
    with imaged_disks(tmp_path / "tree", tmp_path, filesystem=filesystem) as disks:
        async with furnished(gvisor, vm_spec, disks) as machine:
            report = await shell(machine, "cat a.txt; echo new >> a.txt; pwd", WORKSPACE)
            assert report.stdout == b"old\n/srv/project\n"
            records: list[UpperRecord] = [record async for record in machine.harvest()]
    changed = [record for record in records if isinstance(record, UpperFile)]
    assert [record.path for record in changed] == [b"a.txt"]
    assert FileBytes(0, b"old\nnew\n") in records


@pytest.mark.guarantee("G8")
async def test_the_tier_and_what_the_jail_lacks_are_said(machine: MicroVM) -> None:
    isolation = machine.isolation
    assert isolation.tier is Tier.USERKERNEL
    assert {"seccomp", "pid-namespace", "net-namespace"} <= set(isolation.jail.layers)
    assert isolation.jail.missing["distinct-uid"]
    assert isolation.guest.lsm == "none"


async def test_files_can_be_listed_and_looked_at(machine: MicroVM) -> None:
    report = await shell(machine, "ls -ld /etc && stat -c %n /etc/passwd && ls -d /absent")
    assert report.exit_code == 2
    assert report.stdout.splitlines()[1] == b"/etc/passwd"
    assert report.stderr == b"ls: cannot access '/absent': No such file or directory\n"


async def test_commands_hold_no_capability_and_are_filtered(machine: MicroVM) -> None:
    report = await shell(machine, "grep -E 'Cap(Eff|Prm|Bnd)|Seccomp' /proc/self/status")
    facts = dict(line.split(":\t") for line in report.stdout.decode().splitlines())
    assert facts == {
        "CapEff": "0" * 16,
        "CapPrm": "0" * 16,
        "CapBnd": "0" * 16,
        "Seccomp": "2",
    }


async def test_commands_see_neither_the_agent_nor_the_host_nor_a_network(machine: MicroVM) -> None:
    code = """
import os, socket
print(sorted(os.listdir("/mnt")), os.path.exists("/run/luminaguard"))
print([line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]])
try:
    socket.create_connection(("192.0.2.1", 80), timeout=3)
except OSError as error:
    print("refused", error.errno is not None)
"""
    report = await machine.execute(Execution(python=code, timeout_s=30))
    lines = report.stdout.decode().splitlines()
    assert lines[0] == "[] False"
    assert "eth0" not in lines[1]
    assert lines[2].startswith("refused")


async def test_what_a_command_leaves_is_ended_and_named(machine: MicroVM) -> None:
    script = (
        "for n in 1 2 3; do setsid sh -c 'while :; do date >> log; done' >/dev/null 2>&1 & done"
    )
    report = await shell(machine, script, WORKSPACE)
    assert report.exit_code == 0
    assert "sh" in report.leftover
    first = [record async for record in machine.harvest()]
    assert [record async for record in machine.harvest()] == first


async def test_the_image_and_the_shared_directory_cannot_be_written(machine: MicroVM) -> None:
    report = await shell(machine, "touch /usr/made /etc/made; echo x > /usr/bin/sh")
    assert report.stderr.count(b"denied") + report.stderr.count(b"Read-only") == 3


async def test_scratch_space_ends_where_its_limit_is(machine: MicroVM) -> None:
    report = await shell(machine, "head -c 200000000 /dev/zero > big", WORKSPACE)
    assert report.exit_code != 0
    assert b"No space left" in report.stderr
    assert (await shell(machine, "rm big; echo fine", WORKSPACE)).stdout == b"fine\n"


async def test_a_mounted_workspace_cannot_be_swapped(
    machine: MicroVM, disks: tuple[int, int]
) -> None:
    with pytest.raises(VmStateError, match="swapped"):
        await machine.attach(workspace_fd=disks[0], scratch_fd=disks[1])


async def test_a_killed_sandbox_is_a_lost_machine(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, vm_directories: tuple[Path, Path]
) -> None:
    others = marked(vm_directories[1])
    async with reseeded(gvisor, vm_spec) as machine:
        assert marked(vm_directories[1]) != others
        os.kill(machine.pid, signal.SIGKILL)
        with pytest.raises((GuestLost, VmStateError)):
            await shell(machine, "true")
        await machine.stop()
        assert machine.state is VmState.STOPPED
        wait_until_gone(vm_directories[1], others)


async def test_a_cancelled_boot_leaves_nothing(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, vm_directories: tuple[Path, Path]
) -> None:
    await gvisor.probe()
    async with reseeded(gvisor, vm_spec):
        pass  # the image is unpacked and checked: from here on a boot starts at once
    homes = vm_directories[1] / "gvisor"
    others, kept = marked(vm_directories[1]), os.listdir(homes)
    with anyio.move_on_after(0.2) as scope:
        await gvisor.boot(vm_spec)
    assert scope.cancelled_caught
    wait_until_gone(vm_directories[1], others)
    assert os.listdir(homes) == kept


async def test_a_jail_below_the_minimum_is_refused(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, tmp_path: Path, vm_directories: tuple[Path, Path]
) -> None:
    runtime = tmp_path / "open"
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    await gvisor.probe()
    other = GvisorHypervisor(vm_directories[0], runtime, image=vm_spec.image)
    try:
        with pytest.raises(HypervisorUnavailable, match="private-runtime-directory"):
            await other.boot(vm_spec)
    finally:
        other.close()
    wait_until_gone(runtime)


def test_machines_end_with_the_process_that_made_them(
    guest_image: GuestImage, vm_directories: tuple[Path, Path], tmp_path: Path
) -> None:
    runtime = tmp_path / "run"
    where = [str(guest_image.directory), guest_image.digest, str(vm_directories[0]), str(runtime)]
    vm_directories[0].mkdir(mode=0o700, parents=True, exist_ok=True)
    holder = subprocess.Popen(
        [sys.executable, str(HOLDER), "gvisor", *where], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        _, sentry = map(int, holder.stdout.readline().split())
        assert lives(sentry)
        assert marked(runtime)
        holder.kill()
        wait_until_gone(runtime)
    finally:
        holder.kill()
        holder.communicate(timeout=30)
    assert not lives(sentry)


async def test_what_a_killed_luminaguard_left_is_removed_by_the_next(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, vm_directories: tuple[Path, Path], tmp_path: Path
) -> None:
    homes = tmp_path / "run" / "gvisor"
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from luminaguard.vm.owned import make_owned; "
        "(make_owned(Path(sys.argv[1]), 'luminaguard-dead-').path / 'lower').mkdir(mode=0o500); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    await anyio.run_process([sys.executable, "-c", code, str(homes)], check=False)
    assert len(list(homes.iterdir())) == 1
    await gvisor.probe()
    first = GvisorHypervisor(vm_directories[0], tmp_path / "run", image=vm_spec.image)
    second = GvisorHypervisor(vm_directories[0], tmp_path / "run", image=vm_spec.image)
    try:
        async with await first.boot(vm_spec) as machine:
            assert list(homes.glob("luminaguard-dead-*")) == []
            async with await second.boot(vm_spec):
                assert len(list(homes.iterdir())) == 2
            await machine.reseed(bytes(64), time.time_ns())
            assert (await shell(machine, "true")).exit_code == 0
    finally:
        first.close()
        second.close()
    assert list(homes.iterdir()) == []


WRECK = """#!/bin/sh
case "$*" in
    --version) echo "runsc version 0.0~20231218.0" ;;
    flags) printf '  -platform value\n\tone of: ptrace, systrap\n' ;;
    *) sleep 1000 & wait ;;
esac
"""


async def test_a_half_dead_runsc_is_told_and_nothing_of_it_goes_on(
    vm_spec: VmSpec,
    vm_directories: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wreck = tmp_path / "runsc"
    wreck.write_text(WRECK)
    wreck.chmod(0o755)
    monkeypatch.setenv("LUMINAGUARD_RUNSC", str(wreck))
    cache, _ = vm_directories
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    hypervisor = GvisorHypervisor(cache, tmp_path / "run", image=vm_spec.image, probe_limit_s=0.5)
    try:
        with pytest.raises(
            HypervisorUnavailable, match=r"systrap: .*did not answer.*ptrace: "
        ) as no:
            await hypervisor.probe()
    finally:
        hypervisor.close()
    assert no.value.hint
    wait_until_gone(tmp_path / "run")
    assert list((tmp_path / "run" / "gvisor").iterdir()) == []


async def test_an_image_that_is_not_what_its_manifest_says_is_not_unpacked(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, tmp_path: Path
) -> None:
    for name in os.listdir(vm_spec.image.directory):
        (tmp_path / name).symlink_to(vm_spec.image.directory / name)
    (tmp_path / "rootfs").unlink()
    (tmp_path / "rootfs").write_bytes(b"hsqs" + bytes(4096))
    changed = replace(vm_spec.image, directory=tmp_path)
    with pytest.raises(ImageError):
        await Roots(tmp_path / "cache").of(changed)
    assert not (tmp_path / "cache" / "roots" / changed.digest).exists()
