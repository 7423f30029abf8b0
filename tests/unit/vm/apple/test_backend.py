"""Machines under Virtualization.framework, on a Mac in memory that enforces Apple's rules."""

import os
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from applevz import APPLE_SILICON, FakeConfiguration, FakeError, FakeMac, Made
from luminaguard.domain.execution import Execution
from luminaguard.domain.isolation import Tier
from luminaguard.errors import (
    BootTimeout,
    GuestLost,
    HypervisorUnavailable,
    TemplateError,
    VmError,
    VmStateError,
)
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.spec import VmSpec
from pooling import FakeMemory

pytestmark = pytest.mark.anyio


def content(path: str) -> bytes:
    """Return what a file holds."""
    return Path(path).read_bytes()


async def test_a_booted_machine_answers_and_says_what_stands_around_it(
    make: Made, spec: VmSpec
) -> None:
    async with await make().boot(spec) as machine:
        assert machine.state is VmState.RUNNING
        assert machine.spawn_ms > 0
        assert machine.pid == os.getpid()
        assert (machine.isolation.backend, machine.isolation.tier) == ("apple", Tier.HARDWARE)
        assert machine.isolation.jail.layers == ("private-runtime-directory",)
        assert {"seccomp", "net-namespace", "sealed-template"} <= set(
            machine.isolation.jail.missing
        )
        await machine.reseed(bytes(64), 1)
        assert (await machine.execute(Execution(argv=("false",)))).exit_code == 1


@pytest.mark.guarantee("G8")
async def test_a_jail_below_the_minimum_is_refused_before_anything_starts(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    with pytest.raises(HypervisorUnavailable, match="seccomp") as refusal:
        await make(waived=frozenset()).boot(spec)
    assert "seccomp" in str(refusal.value.hint)
    assert mac.machines == []


async def test_a_machine_has_three_disks_one_socket_and_nothing_else(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    async with await make().boot(spec):
        configuration = mac.machines[0].configuration
        disks = [(disk.serial, disk.attachment.read_only) for disk in configuration.disks]
        assert disks == [("lg-root", True), ("lg-workspace", True), ("lg-scratch", False)]
        assert {disk.attachment.modes for disk in configuration.disks} == {(2, 3)}
        assert len(configuration.sockets) == 1
        assert not configuration.serial
        assert configuration.loader is not None
        assert "quiet" in configuration.loader.line.split()
        initrd = content(configuration.loader.initrd)
        assert initrd.startswith(b"initrd")
        assert b"luminaguard_guest/agent.py" in initrd


async def test_given_disks_are_what_the_guest_reads(
    make: Made, mac: FakeMac, spec: VmSpec, disks: tuple[int, int]
) -> None:
    mount = GuestMount(path="/srv/project", filesystem="squashfs")
    async with await make().boot(spec) as machine:
        await machine.attach(workspace_fd=disks[0], scratch_fd=disks[1])
        await machine.reseed(bytes(64), 1)
        await machine.mount(mount)
        for serial, fd in zip(("lg-workspace", "lg-scratch"), disks, strict=True):
            seen = content(mac.machines[0].disk(serial).attachment.file)
            wanted = os.pread(fd, 1 << 20, 0)
            assert seen[: len(wanted)] == wanted
            assert len(seen) == spec.disk_limit_bytes
            assert not any(seen[len(wanted) :])
        with pytest.raises(VmStateError, match="already"):
            await machine.attach(workspace_fd=disks[0], scratch_fd=disks[1])


async def test_two_machines_have_disks_of_their_own(
    make: Made, mac: FakeMac, spec: VmSpec, disks: tuple[int, int]
) -> None:
    hypervisor = make()
    async with await hypervisor.boot(spec) as first, await hypervisor.boot(spec):
        await first.attach(workspace_fd=disks[0], scratch_fd=disks[1])
        other = content(mac.machines[1].disk("lg-workspace").attachment.file)
        assert not any(other)


async def test_a_disk_larger_than_its_slot_is_refused_and_the_machine_stays(
    make: Made, spec: VmSpec, disks: tuple[int, int]
) -> None:
    os.ftruncate(disks[1], spec.disk_limit_bytes + 1)
    async with await make().boot(spec) as machine:
        with pytest.raises(VmError, match="slot"):
            await machine.attach(workspace_fd=disks[0], scratch_fd=disks[1])
        assert machine.state is VmState.RUNNING


async def test_a_stopped_machine_leaves_nothing_on_the_disk(
    make: Made, spec: VmSpec, tmp_path: Path
) -> None:
    machine = await make().boot(spec)
    assert len(list((tmp_path / "run/apple").iterdir())) == 1
    await machine.stop()
    await machine.stop()
    assert list((tmp_path / "run/apple").iterdir()) == []
    assert machine.state is VmState.STOPPED


async def test_what_a_killed_owner_left_is_swept_and_living_machines_are_not(
    make: Made, spec: VmSpec, tmp_path: Path
) -> None:
    async with await make().boot(spec):
        left = tmp_path / "run/apple/left"
        left.mkdir()
        (left / "lock").touch()
        async with await make().boot(spec):
            names = {entry.name for entry in (tmp_path / "run/apple").iterdir()}
            assert "left" not in names
            assert len(names) == 2


async def test_a_guest_that_powers_off_is_a_stopped_machine(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    async with await make().boot(spec) as machine:
        mac.machines[0].end_by_itself("The virtual machine stopped unexpectedly.")
        with anyio.fail_after(5), pytest.raises(GuestLost):
            await machine.exercise()
        assert machine.state is VmState.STOPPED


async def test_a_guest_that_never_answers_is_shown_by_its_console_and_ended(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    mac.deaf_for = -1
    with pytest.raises(BootTimeout, match="did not listen") as late:
        await make(limit_s=0.05).boot(spec)
    assert late.value.hint == "luminaguard doctor"
    assert mac.living == []
    assert [len(machine.configuration.serial) for machine in mac.machines] == [0, 1]


@pytest.mark.parametrize("operation", ["start", "stop", "pause"])
async def test_what_macos_refuses_is_told_in_its_words(
    make: Made, mac: FakeMac, spec: VmSpec, operation: str
) -> None:
    mac.failing[operation] = FakeError(1, "An internal error.")
    with pytest.raises(VmError, match=r"An internal error\. \(code 1\)"):
        async with await make().boot(spec) as machine:
            await machine.pause()
    for machine in mac.living:  # the one that macOS would not stop
        machine.state = "stopped"


async def test_pausing_twice_asks_macos_once(make: Made, mac: FakeMac, spec: VmSpec) -> None:
    async with await make().boot(spec) as machine:
        await machine.pause()
        await machine.pause()
        with pytest.raises(VmStateError):
            await machine.exercise()
        await machine.resume()
        await machine.resume()
        await machine.exercise()
        assert (mac.did.count("pause"), mac.did.count("resume")) == (1, 1)


async def test_a_probe_boots_saves_and_restores_twice_and_is_remembered(
    make: Made, mac: FakeMac
) -> None:
    first = make()
    assert not first.capabilities.snapshots
    probe = await first.probe()
    assert (probe.tier, probe.tried) == (Tier.HARDWARE, ())
    assert probe.version == "macOS 15.1 (24.1.0, arm64)"
    assert (mac.did.count("save"), mac.did.count("restore")) == (1, 2)
    assert first.capabilities.snapshots
    assert make().capabilities.snapshots
    assert await make().probe() == probe
    assert mac.did.count("start") == 2


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(APPLE_SILICON, version=(13, 6)), "macOS 14"),
        (replace(APPLE_SILICON, arch="x86_64"), "Apple silicon"),
    ],
)
async def test_without_saving_a_probe_still_finds_hardware(
    make: Made, facts: object, words: str
) -> None:
    hypervisor = make(facts=facts)
    probe = await hypervisor.probe()
    assert probe.tier is Tier.HARDWARE
    assert words in probe.tried[0][1]
    assert not hypervisor.capabilities.snapshots
    assert hypervisor.capabilities.pause
    assert hypervisor.capabilities.swap_disks


async def test_saving_that_macos_only_claims_to_support_is_found_out(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    mac.failing["save"] = FakeError(11, "Saving failed.")
    hypervisor = make()
    assert "Saving failed." in (await hypervisor.probe()).tried[0][1]
    with pytest.raises(HypervisorUnavailable, match="Saving failed"):
        await hypervisor.template(spec)


async def test_a_mac_that_wakes_one_machine_at_a_time_has_no_snapshots(
    make: Made, mac: FakeMac
) -> None:
    mac.twins = False
    hypervisor = make()
    assert "invalid argument" in (await hypervisor.probe()).tried[0][1]
    assert not hypervisor.capabilities.snapshots


async def test_the_random_number_device_is_left_out_where_it_cannot_be_saved(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    def refuse(configuration: FakeConfiguration) -> str | None:
        return "Unsupported entropy device." if configuration.entropy else None

    mac.refuses_saving = refuse
    hypervisor = make()
    assert (await hypervisor.probe()).tried == ()
    async with await make().restore(await make().template(spec)):
        assert not mac.living[0].configuration.entropy


async def test_a_template_with_a_changed_macos_is_stale(make: Made, spec: VmSpec) -> None:
    hypervisor = make()
    await hypervisor.probe()
    template = await hypervisor.template(spec)
    newer = make(facts=replace(APPLE_SILICON, build="24.2.0"))
    await newer.probe()
    with pytest.raises(TemplateError, match="stale"):
        await newer.restore(template)


@pytest.mark.guarantee("G6")
async def test_a_changed_state_file_is_never_restored_even_once_verified(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    hypervisor = make()
    await hypervisor.probe()
    template = await hypervisor.template(spec)
    await (await hypervisor.restore(template)).stop()
    state = template.directory / "state.vzvmsave"
    state.write_bytes(state.read_bytes()[:-2] + b" }")
    restored = mac.did.count("restore")
    with pytest.raises(TemplateError, match="not what was saved"):
        await hypervisor.restore(template)
    assert mac.did.count("restore") == restored


async def test_a_machine_with_a_workspace_never_becomes_a_template(
    make: Made, spec: VmSpec, disks: tuple[int, int], tmp_path: Path
) -> None:
    target = tmp_path / "saved"
    target.mkdir()
    async with await make().boot(spec) as machine:
        await machine.attach(workspace_fd=disks[0], scratch_fd=disks[1])
        with pytest.raises(TemplateError, match="workspace"):
            await machine.snapshot(target)


async def test_a_cancelled_boot_leaves_no_machine(
    make: Made, mac: FakeMac, spec: VmSpec, tmp_path: Path
) -> None:
    mac.deaf_for = -1
    with anyio.move_on_after(0.2) as scope:
        await make().boot(spec)
    assert scope.cancelled_caught
    assert mac.living == []
    assert list((tmp_path / "run/apple").iterdir()) == []


@pytest.mark.parametrize("saves", [True, False])
async def test_a_pool_hands_out_warm_machines_whether_or_not_they_can_be_saved(
    make: Made, mac: FakeMac, spec: VmSpec, disks: tuple[int, int], saves: bool
) -> None:
    mac.twins = saves
    hypervisor = make()
    await hypervisor.probe()
    assert hypervisor.capabilities.snapshots is saves
    began = {what: mac.did.count(what) for what in ("start", "restore")}
    settings = PoolSettings(size=2, memory_reserve_mib=1)
    async with MachinePool(hypervisor, spec, settings, memory=FakeMemory()) as pool:
        await pool.filled(10)
        assert [machine.state for machine in mac.living] == ["paused", "paused"]
        made = mac.did.count("restore" if saves else "start")
        assert made - began["restore" if saves else "start"] >= 2
        lease = await pool.lease("session-1")
        await lease.vm.attach(workspace_fd=disks[0], scratch_fd=disks[1])
        if lease.vm.state is VmState.PAUSED:
            await lease.vm.resume()
        await lease.vm.reseed(bytes(64), 1)
        await lease.vm.mount(GuestMount(path="/srv/project", filesystem="squashfs"))
        await lease.release()
