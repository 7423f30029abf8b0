"""A program in a machine of its own: what it wrote comes out, and the machine is gone after."""

import shutil

import pytest

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.harvest import UpperFile, UpperRecord
from luminaguard.errors import GuestLost, ImageError
from luminaguard.image.image import GuestImage
from luminaguard.testing.hypervisor import FakeGuest, FakeHypervisor, exited
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.workbench import MachineWorkbench

pytestmark = pytest.mark.skipif(
    shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin") is None, reason="needs mke2fs"
)


@pytest.fixture
def image(tmp_path) -> GuestImage:
    for name in ("kernel", "initrd", "rootfs", "disk"):
        (tmp_path / name).write_bytes(b"x")
    return GuestImage(directory=tmp_path, digest="0" * 64)


def make(guest: FakeGuest, execution: Execution) -> GuestReport:
    guest.upper.write("out.txt", execution.cwd.encode())
    return exited(0)


def fail(guest: FakeGuest, execution: Execution) -> GuestReport:
    guest.upper.write("half.txt", b"x")
    return exited(3, stderr=b"why\n")


def die(_guest: FakeGuest, _execution: Execution) -> GuestReport:
    raise GuestLost("gone")


def bench(hypervisor: FakeHypervisor, image: GuestImage) -> MachineWorkbench:
    return MachineWorkbench(hypervisor, image.directory / "cache")


def run(hypervisor: FakeHypervisor, image: GuestImage, program: str, take) -> GuestReport:
    disk = image.directory / "disk"
    return bench(hypervisor, image).run(image, disk, (program,), take)


def test_what_the_program_wrote_is_handed_out(image) -> None:
    hypervisor = FakeHypervisor({"make": make})
    taken: list[UpperRecord] = []
    assert run(hypervisor, image, "make", taken.append).exit_code == 0
    assert [each.path for each in taken if isinstance(each, UpperFile)] == [b"out.txt"]
    assert [each.state for each in hypervisor.machines] == [VmState.STOPPED]


def test_nothing_is_taken_from_a_program_that_failed(image) -> None:
    hypervisor = FakeHypervisor({"fail": fail})
    taken: list[UpperRecord] = []
    assert run(hypervisor, image, "fail", taken.append).exit_code == 3
    assert taken == []


def test_a_refusal_of_what_comes_out_ends_the_machine(image) -> None:
    hypervisor = FakeHypervisor({"make": make})

    def refuse(_record: UpperRecord) -> None:
        raise ImageError("no")

    with pytest.raises(ImageError, match="no"):
        run(hypervisor, image, "make", refuse)
    assert [each.state for each in hypervisor.machines] == [VmState.STOPPED]


def test_a_machine_that_dies_is_an_error(image) -> None:
    with pytest.raises(GuestLost):
        run(FakeHypervisor({"die": die}), image, "die", lambda _record: None)
