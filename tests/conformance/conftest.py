"""The backends that must all behave alike; one that this host cannot run says what is missing."""

import os
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from guest_scripts import fake_shell, known_shell

from applevz import APPLE_SILICON, WAIVED, FakeMac, arm_image
from fcdouble.fixtures import double_image, double_of
from luminaguard.image.image import GuestImage
from luminaguard.testing.hypervisor import FakeHypervisor
from luminaguard.vm.backends.apple.backend import AppleHypervisor
from luminaguard.vm.hypervisor import Hypervisor
from luminaguard.vm.linux import anonymous_file
from luminaguard.vm.spec import VmSpec

DOUBLES = ("fake", "apple-double", "firecracker-double")
"""No machine runs below them; of all but the first, everything above the machine is the product."""
REAL = ("qemu", "gvisor", "apple", "firecracker")
UNMARKED = ("process",)
"""Real, but no virtual machine: it runs with every suite."""


@pytest.fixture(
    params=[*DOUBLES, *UNMARKED, *(pytest.param(name, marks=pytest.mark.vm) for name in REAL)]
)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    return request.param


@pytest.fixture
def hypervisor(
    request: pytest.FixtureRequest, backend: str, tmp_path: Path
) -> Generator[Hypervisor]:
    """The backend."""
    match backend:
        case "fake":
            yield FakeHypervisor({"sh": fake_shell}, directory=tmp_path / "templates")
        case "apple-double":
            mac = request.getfixturevalue("mac")
            hypervisor = apple_double(mac, tmp_path)
            anyio.run(hypervisor.probe)
            yield hypervisor
        case "firecracker-double":
            double, launcher = double_of(tmp_path / "double", {"sh": known_shell})
            yield double
            double.close()
            assert launcher.left == []
        case name:
            yield request.getfixturevalue(name)


@pytest.fixture
def mac() -> Generator[FakeMac]:
    """A Mac in memory."""
    mac = FakeMac()
    yield mac
    mac.close()


def apple_double(mac: FakeMac, base: Path) -> AppleHypervisor:
    """Return the Apple backend on a Mac in memory."""
    return AppleHypervisor(
        base / "cache",
        base / "run",
        allow_missing=WAIVED,
        image=arm_image(base / "guest-image"),
        framework=mac.framework(),
        facts=APPLE_SILICON,
    )


@pytest.fixture
def another(
    request: pytest.FixtureRequest, backend: str, hypervisor: Hypervisor, tmp_path: Path
) -> Generator[Hypervisor]:
    """A second hypervisor over the same cache, as another process would have."""
    match backend:
        case "fake":
            yield hypervisor
        case "apple-double":
            yield apple_double(request.getfixturevalue("mac"), tmp_path)
        case "firecracker-double":
            double, _ = double_of(tmp_path / "double", {"sh": known_shell})
            yield double
            double.close()
        case _:
            cache, runtime = request.getfixturevalue("vm_directories")
            second = type(hypervisor)(cache, runtime)  # pyright: ignore[reportCallIssue]
            yield second
            second.close()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def spec(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> VmSpec:
    """The shape of the machines under test."""
    match backend:
        case "fake":
            return VmSpec(image=GuestImage(directory=tmp_path, digest="0" * 64))
        case "apple-double":
            return VmSpec(image=arm_image(tmp_path / "guest-image"), disk_limit_bytes=1024**2)
        case "firecracker-double":
            return VmSpec(image=double_image(tmp_path / "double" / "image"), memory_mib=128)
        case _:
            return request.getfixturevalue("vm_spec")


@pytest.fixture
def disks(backend: str, tmp_path: Path) -> Generator[tuple[int, int]]:
    """A workspace image that holds a.txt, and an empty scratch disk."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("old\n")
    if backend in {"fake", "apple-double"}:
        image = anonymous_file(tmp_path)
        os.write(image, b"hsqs")
        scratch = anonymous_file(tmp_path)
    else:
        from luminaguard.vm.disks import scratch_disk
        from vm_fixtures import imaged

        image = imaged(tree, tmp_path / "image", "squashfs")
        scratch = scratch_disk(tmp_path, 64 * 1024 * 1024)
    yield image, scratch
    os.close(image)
    os.close(scratch)
