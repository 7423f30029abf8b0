"""Hypervisors over doubles, and the real Firecracker where there is one."""

import os
from pathlib import Path

import pytest

from fcdouble.guest import Programs
from fcdouble.launcher import DoubleLauncher
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.firecracker.backend import FirecrackerHypervisor
from luminaguard.vm.backends.firecracker.template import MemoryMode

VARIABLE = "LUMINAGUARD_FIRECRACKER"


def double_image(directory: Path) -> GuestImage:
    """Return an image that a double boots."""
    directory.mkdir(parents=True, exist_ok=True)
    image = GuestImage(directory=directory, digest="d" * 64)
    image.kernel.write_bytes(b"\x7fELF and so on")
    image.initrd.write_bytes(b"initrd")
    image.rootfs.write_bytes(b"hsqs root disk")
    for lsm in ("apparmor", "selinux"):
        (directory / f"{lsm}.policy").write_bytes(b"policy")
    return image


def double_of(
    base: Path, programs: Programs | None = None, *, memory: MemoryMode = MemoryMode.FILE
) -> tuple[FirecrackerHypervisor, DoubleLauncher]:
    """Return the real backend over doubles, with its cache in `base`."""
    launcher = DoubleLauncher(base / "machines", programs)
    hypervisor = FirecrackerHypervisor(
        base / "cache",
        base / "run",
        image=double_image(base / "image"),
        memory=memory,
        host=lambda: launcher.host,
        check_image=lambda _: None,
    )
    return hypervisor, launcher


def real_firecracker(cache: Path, runtime: Path, image: GuestImage) -> FirecrackerHypervisor:
    """Return the backend over the program that the environment names; skip without one."""
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no Firecracker, and no package brings one")
    return FirecrackerHypervisor(cache, runtime, image=image)
