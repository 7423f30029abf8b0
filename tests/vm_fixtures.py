"""Real machines for tests: one hypervisor and one template per test run."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from fcdouble.fixtures import real_firecracker
from luminaguard.errors import HypervisorUnavailable
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.apple.backend import AppleHypervisor
from luminaguard.vm.backends.apple.jail import mac_jail
from luminaguard.vm.backends.firecracker.backend import FirecrackerHypervisor
from luminaguard.vm.backends.gvisor.backend import GvisorHypervisor
from luminaguard.vm.backends.gvisor.runsc import find_runsc
from luminaguard.vm.backends.process.backend import ProcessHypervisor
from luminaguard.vm.backends.process.host import find_bubblewrap, require_namespaces
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.backends.qemu.launch import find_qemu
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import MicroVM, Template
from luminaguard.vm.spec import VmSpec

TRIED_S = 5.0
"""How long gVisor waits for a platform that hangs, as /dev/kvm does on some hosts; boots take 1."""


@pytest.fixture(scope="session")
def vm_spec(guest_image: GuestImage) -> VmSpec:
    """The shape of the machines under test."""
    return VmSpec(image=guest_image)


@pytest.fixture(scope="session")
def vm_directories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Cache and runtime directory of this test run."""
    base = tmp_path_factory.mktemp("machines")
    return base / "cache", base / "run"


@pytest.fixture(scope="session")
def qemu(guest_image: GuestImage, vm_directories: tuple[Path, Path]) -> Generator[QemuHypervisor]:
    """The QEMU backend; its template is built by the first test that asks for it."""
    try:
        find_qemu()
    except HypervisorUnavailable as unavailable:
        pytest.skip(f"qemu: {unavailable}")
    cache, runtime = vm_directories
    hypervisor = QemuHypervisor(cache, runtime, image=guest_image)
    yield hypervisor
    hypervisor.close()


@pytest.fixture(scope="session")
def gvisor(
    guest_image: GuestImage, vm_directories: tuple[Path, Path]
) -> Generator[GvisorHypervisor]:
    """The gVisor backend; whichever test is first has the image unpacked and a platform tried."""
    try:
        find_runsc()
    except HypervisorUnavailable as unavailable:
        pytest.skip(f"gvisor: {unavailable}")
    cache, runtime = vm_directories
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    hypervisor = GvisorHypervisor(cache, runtime, image=guest_image, probe_limit_s=TRIED_S)
    yield hypervisor
    hypervisor.close()


@pytest.fixture(scope="session")
def process(
    guest_image: GuestImage, vm_directories: tuple[Path, Path]
) -> Generator[ProcessHypervisor]:
    """The backend of confined processes; whichever test is first has the image unpacked."""
    try:
        find_bubblewrap()
        require_namespaces()
    except HypervisorUnavailable as unavailable:
        pytest.skip(f"process: {unavailable}")
    cache, runtime = vm_directories
    hypervisor = ProcessHypervisor(cache, runtime, image=guest_image)
    yield hypervisor
    hypervisor.close()


@pytest.fixture(scope="session")
def firecracker(
    guest_image: GuestImage, vm_directories: tuple[Path, Path]
) -> Generator[FirecrackerHypervisor]:
    """The Firecracker backend, on the program that the environment names."""
    cache, runtime = vm_directories
    hypervisor = real_firecracker(cache, runtime, guest_image)
    yield hypervisor
    hypervisor.close()


@pytest.fixture(scope="session")
def qemu_template(qemu: QemuHypervisor, vm_spec: VmSpec) -> Template:
    """The template of this test run."""
    return anyio.run(qemu.template, vm_spec)


def imaged(tree: Path, target: Path, filesystem: str) -> int:
    """Return a read-only descriptor of a file system image of `tree`, owned by the guest's user."""
    if filesystem == "erofs":
        command = ["mkfs.erofs", "--force-uid=1000", "--force-gid=1000", str(target), str(tree)]
    else:
        command = ["mksquashfs", str(tree), str(target), "-force-uid", "1000", "-force-gid"]
        command += ["1000", "-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet"]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    fd = os.open(target, os.O_RDONLY)
    target.unlink()
    return fd


Machines = Callable[..., AbstractAsyncContextManager[MicroVM]]


@pytest.fixture
def machines(
    qemu: QemuHypervisor,
    qemu_template: Template,
    vm_directories: tuple[Path, Path],
    tmp_path: Path,
) -> Machines:
    """Give reseeded clones with a tree of the host attached, not mounted yet."""
    cache, _ = vm_directories

    @asynccontextmanager
    async def machine(
        tree: Path, *, scratch_mib: int = 64, filesystem: str = "squashfs"
    ) -> AsyncGenerator[MicroVM]:
        image = imaged(tree, tmp_path / f"{secrets.token_hex(8)}.img", filesystem)
        scratch = scratch_disk(cache, scratch_mib * 1024 * 1024)
        try:
            async with await qemu.restore(qemu_template) as clone:
                await clone.attach(workspace_fd=image, scratch_fd=scratch)
                await clone.reseed(secrets.token_bytes(64), time.time_ns())
                yield clone
        finally:
            os.close(image)
            os.close(scratch)

    return machine


@pytest.fixture(scope="session")
def apple(guest_image: GuestImage, vm_directories: tuple[Path, Path]) -> Generator[AppleHypervisor]:
    """The Apple backend on a real Mac; every layer that no Mac has is waived."""
    cache, runtime = vm_directories
    waived = frozenset(mac_jail(runtime_private=True).missing)
    hypervisor = AppleHypervisor(cache, runtime, allow_missing=waived, image=guest_image)
    try:
        anyio.run(hypervisor.probe)
    except HypervisorUnavailable as unavailable:
        pytest.skip(f"apple: {unavailable}")
    yield hypervisor
    hypervisor.close()
