"""A Firecracker machine that fails fails clearly, and leaves nothing, whatever step it dies in."""

import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from fcdouble.fixtures import double_image, double_of
from fcdouble.launcher import DoubleLauncher
from luminaguard.domain.execution import Execution
from luminaguard.errors import (
    BootTimeout,
    GuestError,
    GuestLost,
    HypervisorUnavailable,
    TemplateError,
    VmError,
    VmStateError,
)
from luminaguard.testing.hypervisor import exited
from luminaguard.vm.backends.firecracker.api.faults import ApiLost, ApiRefused
from luminaguard.vm.backends.firecracker.backend import FirecrackerHypervisor
from luminaguard.vm.backends.firecracker.template import MemoryMode
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hardening import RELAXED
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec

pytestmark = pytest.mark.anyio

MOUNT = GuestMount(path="/work/x", filesystem="squashfs")


class World:
    def __init__(self, base: Path, memory: MemoryMode = MemoryMode.FILE) -> None:
        programs = {"sh": lambda _guest, _execution: exited(0)}
        self.base = base
        self.hypervisor, self.launcher = double_of(base, programs, memory=memory)
        self.spec = VmSpec(image=double_image(base / "image"), memory_mib=128)

    def another(
        self, memory: MemoryMode = MemoryMode.FILE
    ) -> tuple[FirecrackerHypervisor, DoubleLauncher]:
        """Return what another process over the same cache would have."""
        return double_of(self.base, self.launcher.programs, memory=memory)

    def disks(self) -> tuple[int, int]:
        image = os.open(self.base / "ws.img", os.O_CREAT | os.O_RDWR, 0o600)
        os.write(image, b"hsqs and a workspace")
        os.unlink(self.base / "ws.img")
        return image, scratch_disk(self.base, 8 * 1024 * 1024)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    before = threading.active_count()
    made = World(tmp_path)
    yield made
    made.hypervisor.close()
    assert made.launcher.left == []
    assert not [vmm for vmm in made.launcher.vmms if vmm.alive]
    assert threading.active_count() <= before + 8  # the event loop keeps some for its own use


BOOTING = [
    ("GET", "/"),
    ("PUT", "/logger"),
    ("PUT", "/metrics"),
    ("PUT", "/machine-config"),
    ("PUT", "/boot-source"),
    ("PUT", "/drives/root"),
    ("PUT", "/drives/workspace"),
    ("PUT", "/drives/scratch"),
    ("PUT", "/vsock"),
    ("PUT", "/actions"),
]


@pytest.mark.parametrize(
    ("step", "act"),
    [(step, "die") for step in BOOTING] + [(step, "nonsense") for step in BOOTING[1:]],
)
async def test_a_firecracker_that_fails_in_any_step_of_a_boot_leaves_nothing(
    world: World, step: tuple[str, str], act: str
) -> None:
    await world.hypervisor.probe()
    world.launcher.breaks[step] = act
    with anyio.fail_after(30), pytest.raises((BootTimeout, GuestLost)):
        await world.hypervisor.boot(world.spec)


@pytest.mark.parametrize("step", [("PUT", "/snapshot/load"), ("PATCH", "/vm")])
async def test_a_firecracker_that_dies_while_a_template_wakes_leaves_nothing(
    world: World, step: tuple[str, str]
) -> None:
    template = await world.hypervisor.template(world.spec)
    world.launcher.breaks[step] = "die"
    with pytest.raises(TemplateError, match="does not wake up"):
        await world.hypervisor.restore(template)


@pytest.mark.parametrize("step", [("PATCH", "/vm"), ("PUT", "/snapshot/create")])
async def test_a_firecracker_that_dies_while_it_saves_makes_no_template(
    world: World, step: tuple[str, str]
) -> None:
    await world.hypervisor.probe()
    world.launcher.breaks[step] = "die"
    with pytest.raises(GuestLost):
        await world.hypervisor.template(world.spec)
    assert not list((world.base / "cache" / "firecracker" / "templates").glob("*/manifest.json"))


async def test_a_refused_snapshot_is_a_template_error(world: World) -> None:
    await world.hypervisor.probe()
    world.launcher.breaks["PUT", "/snapshot/create"] = "error"
    with pytest.raises(TemplateError, match="could not save"):
        await world.hypervisor.template(world.spec)


@pytest.mark.parametrize("step", ["/drives/workspace", "/drives/scratch"])
@pytest.mark.parametrize("act", ["die", "error", "nonsense"])
async def test_a_machine_whose_disks_cannot_be_swapped_is_ended(
    world: World, step: str, act: str
) -> None:
    machine = await world.hypervisor.restore(await world.hypervisor.template(world.spec))
    image, scratch = world.disks()
    world.launcher.breaks["PATCH", step] = act
    with pytest.raises((ApiRefused, ApiLost)):
        await machine.attach(workspace_fd=image, scratch_fd=scratch)
    assert machine.state is VmState.STOPPED
    os.close(image)
    os.close(scratch)


async def test_a_paused_clone_gets_its_disks_and_goes_on_with_them(world: World) -> None:
    machine = await world.hypervisor.restore(await world.hypervisor.template(world.spec))
    engine = world.launcher.engines[-1]
    await machine.pause()
    image, scratch = world.disks()
    await machine.attach(workspace_fd=image, scratch_fd=scratch)
    assert engine.state == "Paused"
    assert engine.drives["workspace"]["path_on_host"] == "/ro/workspace-1"
    await machine.attach(workspace_fd=image, scratch_fd=scratch)
    assert engine.drives["scratch"]["path_on_host"] == "/rw/scratch-4"
    left = {path.name for path in (engine.root / "rw").iterdir()}
    assert "scratch-4" in left
    assert "scratch-2" not in left
    await machine.resume()
    await machine.reseed(secrets.token_bytes(64), time.time_ns())
    await machine.mount(MOUNT)
    os.close(image)
    os.close(scratch)
    await machine.stop()


async def test_a_clone_without_disks_tells_that_it_cannot_mount(world: World) -> None:
    async with await world.hypervisor.restore(
        await world.hypervisor.template(world.spec)
    ) as machine:
        await machine.reseed(secrets.token_bytes(64), time.time_ns())
        with pytest.raises(GuestError, match="still empty"):
            await machine.mount(MOUNT)


async def test_a_clone_is_loaded_before_anything_is_configured_and_resumed_after(
    world: World,
) -> None:
    await (await world.hypervisor.restore(await world.hypervisor.template(world.spec))).stop()
    heard = [f"{method} {path}" for method, path in world.launcher.engines[-1].heard]
    wanted = ["PUT /logger", "PUT /metrics", "PUT /snapshot/load", "PATCH /vm"]
    assert [one for one in heard if not one.startswith("GET")] == wanted


async def test_pausing_twice_asks_firecracker_once(world: World) -> None:
    async with await world.hypervisor.boot(world.spec) as machine:
        for change in (machine.pause, machine.pause, machine.resume, machine.resume):
            await change()
        heard = world.launcher.engines[-1].heard
        assert [one for one in heard if one == ("PATCH", "/vm")] == [("PATCH", "/vm")] * 2


async def test_a_machine_found_dead_is_stopped_and_refuses_requests(world: World) -> None:
    machine = await world.hypervisor.boot(world.spec)
    world.launcher.vmms[-1].server.die()
    assert machine.state is VmState.STOPPED
    with pytest.raises(VmStateError):
        await machine.execute(Execution(argv=("true",)))
    await machine.stop()


async def test_metrics_come_when_asked_for(world: World) -> None:
    machine = await world.hypervisor.boot(world.spec)
    assert (await machine.metrics())["vmm"] == {"panic_count": 0}
    await machine.stop()
    with pytest.raises(VmStateError):
        await machine.metrics()


async def test_a_template_of_another_version_is_stale(world: World) -> None:
    template = await world.hypervisor.template(world.spec)
    other, launcher = world.another()
    launcher.version = "1.15.0"
    with pytest.raises(TemplateError, match="stale"):
        await other.restore(template)
    other.close()


async def test_a_snapshot_of_another_version_is_refused_by_firecracker_and_explained(
    world: World,
) -> None:
    template = await world.hypervisor.template(world.spec)
    other, launcher = world.another()
    await other.probe()  # found as the same version, but what runs is another
    launcher.version = "1.15.0"
    with pytest.raises(TemplateError, match=r"of version 1\.16\.1") as refused:
        await other.restore(template)
    assert "templates" in str(refused.value.hint)
    assert launcher.left == []
    other.close()


def change(memory: Path) -> None:
    with memory.open("r+b") as file:
        file.write(b"another guest's memory")


async def test_a_template_changed_while_it_is_in_use_is_not_restored(world: World) -> None:
    template = await world.hypervisor.template(world.spec)
    change(template.directory / "ram")
    with pytest.raises(TemplateError, match="not what was saved"):
        await world.hypervisor.restore(template)


async def test_a_template_is_shared_by_processes_and_made_once(world: World) -> None:
    template = await world.hypervisor.template(world.spec)
    other, launcher = world.another()
    assert await other.template(world.spec) == template
    assert [
        engine.heard for engine in launcher.engines if ("PUT", "/actions") in engine.heard
    ] == []
    other.close()


async def test_another_profile_has_another_template(world: World) -> None:
    strict = await world.hypervisor.template(world.spec)
    relaxed = VmSpec(image=world.spec.image, memory_mib=128, profile=RELAXED)
    machine = await world.hypervisor.boot(relaxed)
    assert machine.isolation.guest.profile == "relaxed"
    await machine.stop()
    assert (await world.hypervisor.template(relaxed)).key != strict.key


async def test_page_faults_are_served_for_as_long_as_the_machine_lives(tmp_path: Path) -> None:
    world = World(tmp_path, MemoryMode.UFFD)
    template = await world.hypervisor.template(world.spec)
    async with await world.hypervisor.restore(template) as machine:
        assert world.launcher.engines[-1].uffd is not None
        assert [one.name for one in threading.enumerate() if one.name == "luminaguard-pages"]
        await machine.reseed(secrets.token_bytes(64), time.time_ns())
        assert (await machine.execute(Execution(argv=("true",)))).exit_code == 0
        assert not (world.launcher.engines[-1].root / "ro" / "memory").exists()
    assert not [one.name for one in threading.enumerate() if one.name == "luminaguard-pages"]
    assert world.launcher.left == []
    world.hypervisor.close()


async def test_a_failed_restore_with_page_faults_leaves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, MemoryMode.UFFD)
    template = await world.hypervisor.template(world.spec)
    world.launcher.breaks["PUT", "/snapshot/load"] = "die"
    with pytest.raises(TemplateError):
        await world.hypervisor.restore(template)
    assert not [one.name for one in threading.enumerate() if one.name == "luminaguard-pages"]
    assert world.launcher.left == []
    world.hypervisor.close()


async def test_a_probe_boots_and_is_remembered(world: World) -> None:
    probe = await world.hypervisor.probe()
    assert (probe.tier.value, probe.accelerator, probe.version) == ("hardware", "kvm", "1.16.1")
    assert len(world.launcher.engines) == 1
    other, launcher = world.another()
    assert await other.probe() == probe
    assert launcher.engines == []
    other.close()


async def test_a_host_on_which_no_guest_boots_is_unavailable_with_the_reason(
    world: World,
) -> None:
    world.launcher.breaks["PUT", "/actions"] = "error"
    with pytest.raises(HypervisorUnavailable, match=r"no guest boots.*Internal"):
        await world.hypervisor.probe()


async def test_a_newer_version_is_named_by_the_probe(world: World) -> None:
    world.launcher.version = "1.99.0"
    assert "newer" in (await world.hypervisor.probe()).version


async def test_an_older_version_is_not_even_started(world: World) -> None:
    world.launcher.version = "1.7.0"
    with pytest.raises(HypervisorUnavailable, match="too old"):
        await world.hypervisor.probe()
    assert world.launcher.engines == []


async def test_a_saved_machine_of_the_wrong_size_is_no_template(
    world: World, tmp_path: Path
) -> None:
    machine = await world.hypervisor.boot(world.spec)
    world.launcher.engines[-1].config["machine-config"]["mem_size_mib"] = 64
    target = tmp_path / "saved"
    target.mkdir()
    with pytest.raises(TemplateError, match="another size"):
        await machine.snapshot(target)
    assert machine.state is VmState.STOPPED
    assert not (target / "manifest.json").exists()


async def test_a_template_holds_the_memory_without_its_empty_pages(world: World) -> None:
    template = await world.hypervisor.template(world.spec)
    about = (template.directory / "ram").stat()
    assert about.st_size == 128 * 1024 * 1024
    assert about.st_blocks * 512 < 1024 * 1024
    assert json.loads((template.directory / "manifest.json").read_bytes())["key"] == template.key


async def test_cancelling_a_restore_leaves_nothing(world: World) -> None:
    template = await world.hypervisor.template(world.spec)
    world.launcher.breaks["PUT", "/snapshot/load"] = "hang"
    with anyio.move_on_after(0.3) as scope:
        await world.hypervisor.restore(template)
    assert scope.cancelled_caught


async def test_a_disk_beyond_its_slot_leaves_the_machine_usable(world: World) -> None:
    async with await world.hypervisor.boot(world.spec) as machine:
        huge = os.memfd_create("huge")
        os.ftruncate(huge, world.spec.disk_limit_bytes + 512)
        with pytest.raises(VmError, match="slot"):
            await machine.attach(workspace_fd=huge, scratch_fd=huge)
        os.close(huge)
        assert machine.state is VmState.RUNNING
