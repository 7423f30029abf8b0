"""The fake misbehaves on demand, just as a real machine would; its honest side is conformance."""

import os
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from luminaguard.domain.execution import Ended, Execution, GuestReport
from luminaguard.domain.harvest import FileBytes, UpperDirectory, UpperFile, UpperSymlink, Whiteout
from luminaguard.errors import GuestLost, TemplateError, WireError
from luminaguard.image.image import GuestImage
from luminaguard.testing.hypervisor import FakeGuest, FakeHypervisor, FakeMicroVM, Program, exited
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec

pytestmark = pytest.mark.anyio

SPEC = VmSpec(image=GuestImage(directory=Path("/nowhere"), digest="0" * 64))


async def ready(program: Program) -> FakeMicroVM:
    hypervisor = FakeHypervisor({"program": program})
    machine = await hypervisor.restore(await hypervisor.template(SPEC))
    disk = os.memfd_create("disk")
    await machine.attach(workspace_fd=disk, scratch_fd=disk)
    os.close(disk)
    await machine.reseed(os.urandom(64), 1)
    await machine.mount(GuestMount(path="/w", filesystem="squashfs"))
    return machine


async def run(machine: FakeMicroVM) -> GuestReport:
    return await machine.execute(Execution(argv=("program",)))


@pytest.fixture(autouse=True)
def no_descriptor_leaks() -> Generator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before + 3  # the event loop's own


@pytest.mark.parametrize("error", [GuestLost("gone"), WireError("nonsense")])
async def test_a_program_can_take_its_machine_along(error: Exception) -> None:
    def die(_: FakeGuest, __: Execution) -> GuestReport:
        raise error

    machine = await ready(die)
    with pytest.raises(type(error)):
        await run(machine)
    assert machine.state is VmState.STOPPED
    assert machine.disks is None


async def test_a_guest_can_lie_about_its_changes() -> None:
    lie = [UpperDirectory(b"", 0o755, opaque=False, redirect=None), Whiteout(b"../../etc/passwd")]

    def claim(guest: FakeGuest, _: Execution) -> GuestReport:
        guest.upper.write("true.txt", b"x")
        guest.claims = lie
        return exited(0)

    machine = await ready(claim)
    await run(machine)
    assert [record async for record in machine.harvest()] == lie
    await machine.stop()


async def test_a_program_that_waits_times_out() -> None:
    async def wait(_: FakeGuest, __: Execution) -> GuestReport:
        await anyio.sleep(60)
        return exited(0)

    machine = await ready(wait)
    report = await machine.execute(Execution(argv=("program",), timeout_s=0.01))
    assert (report.ended, report.exit_code) == (Ended.TIMED_OUT, 124)
    await machine.stop()


@pytest.mark.parametrize("operation", ["attach", "reseed", "mount", "execute", "pause"])
async def test_any_operation_can_be_made_to_lose_the_machine(operation: str) -> None:
    machine = await ready(lambda _guest, _execution: exited(0))
    hypervisor = FakeHypervisor(faults={operation: GuestLost("gone")})
    faulty = await hypervisor.boot(SPEC)
    disk = os.memfd_create("disk")
    steps = {
        "attach": lambda: faulty.attach(workspace_fd=disk, scratch_fd=disk),
        "reseed": lambda: faulty.reseed(bytes(64), 1),
        "mount": lambda: faulty.mount(GuestMount(path="/w", filesystem="squashfs")),
        "execute": lambda: faulty.execute(Execution(argv=("true",))),
        "pause": faulty.pause,
    }
    with pytest.raises(GuestLost):
        await steps[operation]()
    assert faulty.state is VmState.STOPPED
    assert machine.state is VmState.RUNNING
    os.close(disk)
    await machine.stop()


async def test_a_template_can_be_made_to_fail_once_and_work_afterwards() -> None:
    hypervisor = FakeHypervisor(faults={"restore": TemplateError("damaged")})
    template = await hypervisor.template(SPEC)
    with pytest.raises(TemplateError):
        await hypervisor.restore(template)
    del hypervisor.faults["restore"]
    assert (await hypervisor.restore(template)).state is VmState.RUNNING
    assert len(hypervisor.machines) == 1


async def test_the_upper_layer_replaces_as_an_overlay_does() -> None:
    def change(guest: FakeGuest, _: Execution) -> GuestReport:
        guest.upper.write("d/one", b"1")
        guest.upper.write("d/two", b"2")
        guest.upper.delete("d", was_there=True)
        guest.upper.symlink("link", "d")
        guest.upper.write("link/in", b"3")
        guest.upper.write("fresh", b"")
        guest.upper.delete("fresh", was_there=False)
        return exited(0)

    machine = await ready(change)
    await run(machine)
    records = [record async for record in machine.harvest()]
    kinds = [(type(one), one.path) for one in records if not isinstance(one, FileBytes)]
    assert kinds == [
        (UpperDirectory, b""),
        (Whiteout, b"d"),
        (UpperDirectory, b"link"),
        (UpperFile, b"link/in"),
    ]
    assert not any(isinstance(one, UpperSymlink) for one in records)
    await machine.stop()


async def test_skipped_directories_are_listed_without_their_bytes() -> None:
    def change(guest: FakeGuest, _: Execution) -> GuestReport:
        guest.upper.write(".cache/big", b"x" * 1000)
        return exited(0)

    machine = await ready(change)
    await run(machine)
    records = [record async for record in machine.harvest(skip=[b".cache"])]
    assert [type(one) for one in records] == [UpperDirectory, UpperDirectory, UpperFile]
    await machine.stop()
