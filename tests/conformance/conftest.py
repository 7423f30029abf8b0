"""The backends that must all behave alike; one that this host cannot run says what is missing."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from guest_scripts import fake_shell

from luminaguard.image.image import GuestImage
from luminaguard.testing.hypervisor import FakeHypervisor
from luminaguard.vm.hypervisor import Hypervisor
from luminaguard.vm.spec import VmSpec


@pytest.fixture(
    params=[
        "fake",
        pytest.param("qemu", marks=pytest.mark.vm),
        pytest.param("gvisor", marks=pytest.mark.vm),
    ]
)
def hypervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Hypervisor]:
    """Each backend in turn."""
    if request.param == "fake":
        yield FakeHypervisor({"sh": fake_shell}, directory=tmp_path / "templates")
    else:
        yield request.getfixturevalue(request.param)


@pytest.fixture
def another(request: pytest.FixtureRequest, hypervisor: Hypervisor) -> Generator[Hypervisor]:
    """A second hypervisor over the same cache, as another process would have."""
    if isinstance(hypervisor, FakeHypervisor):
        yield hypervisor
        return
    cache, runtime = request.getfixturevalue("vm_directories")
    second = type(hypervisor)(cache, runtime)  # pyright: ignore[reportCallIssue]
    yield second
    second.close()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def spec(request: pytest.FixtureRequest, hypervisor: Hypervisor, tmp_path: Path) -> VmSpec:
    """The shape of the machines under test."""
    if isinstance(hypervisor, FakeHypervisor):
        return VmSpec(image=GuestImage(directory=tmp_path, digest="0" * 64))
    return request.getfixturevalue("vm_spec")


@pytest.fixture
def disks(
    request: pytest.FixtureRequest, hypervisor: Hypervisor, tmp_path: Path
) -> Generator[tuple[int, int]]:
    """A workspace image that holds a.txt, and an empty scratch disk."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("old\n")
    if isinstance(hypervisor, FakeHypervisor):
        image = os.memfd_create("image")
        scratch = os.memfd_create("scratch")
    else:
        from luminaguard.vm.disks import scratch_disk
        from vm_fixtures import imaged

        image = imaged(tree, tmp_path / "image", "squashfs")
        scratch = scratch_disk(tmp_path, 64 * 1024 * 1024)
    yield image, scratch
    os.close(image)
    os.close(scratch)
