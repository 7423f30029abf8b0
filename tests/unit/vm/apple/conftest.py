"""A Mac in memory, and the product's backend on it."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from applevz import APPLE_SILICON, WAIVED, FakeMac, Made, arm_image
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.apple.backend import AppleHypervisor
from luminaguard.vm.backends.apple.host import MacFacts
from luminaguard.vm.linux import anonymous_file
from luminaguard.vm.spec import VmSpec


@pytest.fixture
def mac() -> Generator[FakeMac]:
    """A Mac; whatever still runs on it afterwards was left behind."""
    mac = FakeMac()
    yield mac
    left = [machine.state for machine in mac.living]
    mac.close()
    assert left == []


@pytest.fixture
def image(tmp_path: Path) -> GuestImage:
    """A guest image for Apple silicon."""
    return arm_image(tmp_path / "image")


@pytest.fixture
def spec(image: GuestImage) -> VmSpec:
    """The shape of the machines under test."""
    return VmSpec(image=image, disk_limit_bytes=1024**2)


@pytest.fixture
def make(mac: FakeMac, image: GuestImage, tmp_path: Path) -> Made:
    """Give a new hypervisor over the same directories."""

    def make(
        *, facts: MacFacts = APPLE_SILICON, waived: frozenset[str] = WAIVED, limit_s: float = 5.0
    ) -> AppleHypervisor:
        return AppleHypervisor(
            tmp_path / "cache",
            tmp_path / "run",
            allow_missing=waived,
            image=image,
            framework=mac.framework(),
            facts=facts,
            boot_limit_s=limit_s,
        )

    return make


@pytest.fixture
def disks(tmp_path: Path) -> Generator[tuple[int, int]]:
    """A workspace image and a scratch disk."""
    image, scratch = anonymous_file(tmp_path), anonymous_file(tmp_path)
    os.write(image, b"hsqs" + bytes(8000) + b"end of the image")
    os.write(scratch, bytes(1024) + b"ext4")
    yield image, scratch
    os.close(image)
    os.close(scratch)
