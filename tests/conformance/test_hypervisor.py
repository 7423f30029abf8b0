"""What every hypervisor must do, whatever runs its machines. Asks capabilities, never the type."""

import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from guest_scripts import CHANGE, FLOOD, RANDOM, WAIT, WORKSPACE

from luminaguard.domain.execution import Ended, Execution
from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSymlink,
    Whiteout,
)
from luminaguard.errors import TemplateError, VmError, VmStateError
from luminaguard.vm.hypervisor import GuestMount, Hypervisor, MicroVM, Template
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.linux import anonymous_file
from luminaguard.vm.spec import VmSpec

pytestmark = pytest.mark.anyio


def shell(script: str, **options: object) -> Execution:
    return replace(Execution(argv=("sh", "-c", script)), **options)  # type: ignore[arg-type]


async def fresh(machine: MicroVM) -> None:
    await machine.reseed(secrets.token_bytes(64), time.time_ns())


@pytest.fixture
async def template(hypervisor: Hypervisor, spec: VmSpec) -> Template:
    if not hypervisor.capabilities.snapshots:
        pytest.skip(f"{hypervisor.name} has no snapshots")
    return await hypervisor.template(spec)


@pytest.fixture
async def clone(hypervisor: Hypervisor, spec: VmSpec) -> AsyncIterator[MicroVM]:
    async with await made(hypervisor, spec) as machine:
        yield machine


async def made(hypervisor: Hypervisor, spec: VmSpec) -> MicroVM:
    """Return a machine for use: a clone, or a booted one where there are no templates."""
    if not hypervisor.capabilities.snapshots:
        return await hypervisor.boot(spec)
    return await hypervisor.restore(await hypervisor.template(spec))


@pytest.fixture
async def mounted(clone: MicroVM, disks: tuple[int, int]) -> MicroVM:
    await clone.attach(workspace_fd=disks[0], scratch_fd=disks[1])
    await fresh(clone)
    await clone.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
    return clone


async def test_a_clone_is_running_and_says_how_it_is_isolated(
    hypervisor: Hypervisor, clone: MicroVM
) -> None:
    assert clone.state is VmState.RUNNING
    assert clone.spawn_ms > 0
    assert clone.isolation.backend == hypervisor.name
    assert clone.isolation.tier is (await hypervisor.probe()).tier
    os.kill(clone.pid, 0)


@pytest.mark.guarantee("G6")
async def test_a_clone_that_was_not_reseeded_runs_nothing(clone: MicroVM) -> None:
    with pytest.raises(VmStateError, match="reseeded"):
        await clone.execute(Execution(argv=("true",)))
    await fresh(clone)
    assert (await clone.execute(Execution(argv=("true",)))).exit_code == 0


@pytest.mark.guarantee("G6")
async def test_two_clones_never_give_the_same_random_bytes(
    hypervisor: Hypervisor, spec: VmSpec
) -> None:
    said: list[set[bytes]] = []
    ids: set[str] = set()
    for _ in range(2):
        async with await made(hypervisor, spec) as machine:
            await fresh(machine)
            report = await machine.execute(shell(RANDOM))
            assert report.exit_code == 0
            said.append(set(report.stdout.splitlines()))
            ids.add(machine.id)
    assert all(said)
    assert not said[0] & said[1]
    assert len(ids) == 2


async def test_commands_end_as_they_ended(clone: MicroVM) -> None:
    await fresh(clone)
    assert (await clone.execute(Execution(argv=("false",)))).exit_code == 1
    assert (await clone.execute(shell("exit 3"))).exit_code == 3
    missing = await clone.execute(Execution(argv=("no-such-program",)))
    assert (missing.ended, missing.exit_code) == (Ended.NOT_STARTED, 127)
    late = await clone.execute(shell(WAIT, timeout_s=0.2))
    assert (late.ended, late.exit_code) == (Ended.TIMED_OUT, 124)


async def test_output_beyond_the_limit_is_counted_not_kept(clone: MicroVM) -> None:
    await fresh(clone)
    report = await clone.execute(shell(FLOOD, output_limit_bytes=1000))
    assert len(report.stdout) == 1000
    assert report.stdout_dropped_bytes == 99_000


async def test_a_cancelled_command_leaves_a_usable_machine(clone: MicroVM) -> None:
    await fresh(clone)
    with anyio.move_on_after(0.3) as scope:
        await clone.execute(shell(WAIT))
    assert scope.cancelled_caught
    assert (await clone.execute(Execution(argv=("true",)))).exit_code == 0


async def test_the_upper_layer_tells_every_change(mounted: MicroVM) -> None:
    assert (await mounted.execute(shell(CHANGE, cwd=WORKSPACE))).exit_code == 0
    records = [record async for record in mounted.harvest()]
    assert isinstance(records[0], UpperDirectory)
    assert records[0].path == b""
    assert kinds(records) == {
        b"": UpperDirectory,
        b"a.txt": Whiteout,
        b"folder": UpperDirectory,
        b"link": UpperSymlink,
        b"made.txt": UpperFile,
    }
    made = next(n for n, one in enumerate(records) if isinstance(one, UpperFile))
    assert records[made + 1] == FileBytes(0, b"new\n")


def kinds(records: list[UpperRecord]) -> dict[bytes, type[UpperRecord]]:
    return {one.path: type(one) for one in records if not isinstance(one, FileBytes)}


async def test_a_guest_without_changes_tells_none(mounted: MicroVM) -> None:
    assert kinds([record async for record in mounted.harvest()]) == {b"": UpperDirectory}


async def test_a_paused_machine_takes_no_requests_and_goes_on_where_it_was(
    hypervisor: Hypervisor, mounted: MicroVM
) -> None:
    if not hypervisor.capabilities.pause:
        pytest.skip(f"{hypervisor.name} cannot pause")
    await mounted.execute(shell(CHANGE, cwd=WORKSPACE))
    await mounted.pause()
    await mounted.pause()
    assert mounted.state is VmState.PAUSED
    with pytest.raises(VmStateError):
        await mounted.execute(Execution(argv=("true",)))
    with pytest.raises(VmStateError):
        [record async for record in mounted.harvest()]
    await mounted.resume()
    assert mounted.state is VmState.RUNNING
    assert b"made.txt" in kinds([record async for record in mounted.harvest()])


async def test_disks_can_be_swapped_into_a_paused_clone(
    hypervisor: Hypervisor, clone: MicroVM, disks: tuple[int, int]
) -> None:
    if not (hypervisor.capabilities.swap_disks and hypervisor.capabilities.pause):
        pytest.skip(f"{hypervisor.name} cannot swap disks while paused")
    await clone.pause()
    await clone.attach(workspace_fd=disks[0], scratch_fd=disks[1])
    await clone.resume()
    await fresh(clone)
    await clone.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))


async def test_a_disk_larger_than_its_slot_is_refused(
    clone: MicroVM, spec: VmSpec, disks: tuple[int, int], tmp_path: Path
) -> None:
    huge = anonymous_file(tmp_path)
    os.ftruncate(huge, spec.disk_limit_bytes + 512)
    with pytest.raises(VmError, match="slot"):
        await clone.attach(workspace_fd=huge, scratch_fd=disks[1])
    os.close(huge)


async def test_a_stopped_machine_is_gone_and_refuses_everything(
    clone: MicroVM, disks: tuple[int, int]
) -> None:
    await clone.stop()
    await clone.stop()
    assert clone.state is VmState.STOPPED
    with pytest.raises(VmStateError):
        await clone.execute(Execution(argv=("true",)))
    with pytest.raises(VmStateError):
        await clone.attach(workspace_fd=disks[0], scratch_fd=disks[1])
    with pytest.raises(VmStateError):
        await clone.pause()
    with pytest.raises(VmStateError):
        await clone.resume()
    with pytest.raises(VmStateError):
        await clone.reseed(bytes(64), 0)


async def test_leaving_the_machine_stops_it(hypervisor: Hypervisor, spec: VmSpec) -> None:
    machine = await made(hypervisor, spec)
    async with machine:
        pass
    assert machine.state is VmState.STOPPED


async def test_a_backend_without_snapshots_says_so_and_keeps_the_machine(
    hypervisor: Hypervisor, spec: VmSpec, clone: MicroVM, tmp_path: Path
) -> None:
    if hypervisor.capabilities.snapshots:
        pytest.skip(f"{hypervisor.name} has snapshots")
    with pytest.raises(TemplateError):
        await hypervisor.template(spec)
    with pytest.raises(TemplateError):
        await hypervisor.restore(Template(key="0" * 64, directory=tmp_path, spec=spec))
    with pytest.raises(TemplateError):
        await clone.snapshot(tmp_path)
    await fresh(clone)
    assert (await clone.execute(Execution(argv=("true",)))).exit_code == 0


async def test_a_stale_template_is_never_restored(
    hypervisor: Hypervisor, template: Template
) -> None:
    with pytest.raises(TemplateError):
        await hypervisor.restore(replace(template, key="0" * 64))


def invert_start(path: Path) -> None:
    """Change the first page of a file; doing it twice changes nothing."""
    with open(path, "r+b") as target:
        inverted = bytes(255 - byte for byte in target.read(4096))
        target.seek(0)
        target.write(inverted)


async def test_a_damaged_template_is_refused_and_then_made_anew(
    hypervisor: Hypervisor, another: Hypervisor, template: Template
) -> None:
    files = sorted(template.directory.iterdir())
    for file in files:
        invert_start(file)
        with pytest.raises(TemplateError):
            await another.restore(template)
        if file != files[-1]:
            invert_start(file)
    again = await another.template(template.spec)
    async with await another.restore(again) as machine:
        await fresh(machine)
        assert (await machine.execute(Execution(argv=("true",)))).exit_code == 0


async def test_a_template_is_made_once(hypervisor: Hypervisor, template: Template) -> None:
    assert await hypervisor.template(template.spec) == template


async def test_a_booted_machine_can_be_saved_which_stops_it(
    hypervisor: Hypervisor, spec: VmSpec, tmp_path: Path
) -> None:
    if not hypervisor.capabilities.snapshots:
        pytest.skip(f"{hypervisor.name} has no snapshots")
    target = tmp_path / "saved"
    target.mkdir()
    async with await hypervisor.boot(spec) as machine:
        await fresh(machine)
        assert (await machine.execute(Execution(argv=("true",)))).exit_code == 0
        await machine.snapshot(target)
        assert machine.state is VmState.STOPPED
    assert list(target.iterdir())
