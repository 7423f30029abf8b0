"""From settings to machines: what they are made of, and what makes them.

Apart from `runtime`, so that a machine can be on its way while the rest is still being imported.
"""

import os
import sys
from stat import S_IFDIR
from typing import TYPE_CHECKING

from luminaguard.config import Settings
from luminaguard.image.image import GuestImage
from luminaguard.image.store import ImageStore
from luminaguard.vm.hardening import profile_named
from luminaguard.vm.linux import memory_file
from luminaguard.vm.spec import VmSpec

if TYPE_CHECKING:
    from luminaguard.vm.backends.apple.backend import AppleHypervisor
    from luminaguard.vm.backends.firecracker.backend import FirecrackerHypervisor
    from luminaguard.vm.backends.gvisor.backend import GvisorHypervisor
    from luminaguard.vm.backends.process.backend import ProcessHypervisor
    from luminaguard.vm.backends.qemu.backend import QemuHypervisor
    from luminaguard.vm.backends.qemu.portable.backend import PortableQemu

# ruff: noqa: PLC0415 - only the backend that is used gets imported: start-up time is a feature


def machine_spec(settings: Settings, image: GuestImage | str) -> VmSpec:
    """Return the shape of machines that run an image, given itself or by name.

    Raises:
        ImageError: there is no such image.
        ConfigError: there is no such hardening profile.
    """
    if isinstance(image, str):
        image = ImageStore(settings.cache_dir).current(image)
    profile = profile_named(settings.vm.profile, lsm=settings.vm.lsm)
    return VmSpec(image=image, memory_mib=settings.vm.memory_mib, profile=profile)


def qemu(settings: Settings, image: GuestImage | None = None) -> "QemuHypervisor | PortableQemu":
    """Return QEMU as the settings describe it; close it after its machines.

    `image`: what its probe boots.
    """
    if sys.platform != "linux":
        from luminaguard.vm.backends.qemu.portable.backend import PortableQemu

        return PortableQemu(
            settings.cache_dir, settings.runtime_dir, allow_missing=_waived(settings), image=image
        )
    from luminaguard.vm.backends.qemu.backend import QemuHypervisor

    return QemuHypervisor(
        settings.cache_dir,
        settings.runtime_dir,
        allow_missing=_waived(settings),
        image=image,
        rehearsal=empty_workspace,
    )


def firecracker(settings: Settings, image: GuestImage | None = None) -> "FirecrackerHypervisor":
    """Return Firecracker as the settings describe it; close it after its machines."""
    from luminaguard.vm.backends.firecracker.backend import FirecrackerHypervisor

    return FirecrackerHypervisor(
        settings.cache_dir, settings.runtime_dir, allow_missing=_waived(settings), image=image
    )


def apple(settings: Settings, image: GuestImage | None = None) -> "AppleHypervisor":
    """Return Virtualization.framework as the settings describe it; close it after its machines."""
    from luminaguard.vm.backends.apple.backend import AppleHypervisor

    return AppleHypervisor(
        settings.cache_dir, settings.runtime_dir, allow_missing=_waived(settings), image=image
    )


def gvisor(settings: Settings, image: GuestImage | None = None) -> "GvisorHypervisor":
    """Return gVisor as the settings describe it; close it after its machines."""
    from luminaguard.vm.backends.gvisor.backend import GvisorHypervisor

    return GvisorHypervisor(
        settings.cache_dir, settings.runtime_dir, allow_missing=_waived(settings), image=image
    )


def process(settings: Settings, image: GuestImage | None = None) -> "ProcessHypervisor":
    """Return confined processes as the settings describe them; close it after its machines."""
    from luminaguard.vm.backends.process.backend import ProcessHypervisor

    return ProcessHypervisor(
        settings.cache_dir, settings.runtime_dir, allow_missing=_waived(settings), image=image
    )


def _waived(settings: Settings) -> frozenset[str]:
    return frozenset(settings.vm.allow_missing_layers)


def empty_workspace() -> int:
    """Return a workspace image with nothing in it, as an open file: what clones rehearse on."""
    from luminaguard.workspace.send.erofs import ErofsWriter, Node

    image = memory_file("luminaguard-rehearsal")
    try:
        ErofsWriter(image, capacity=1).finish([Node(mode=S_IFDIR | 0o755, mtime_ns=0, links=2)])
    except BaseException:
        os.close(image)
        raise
    return image
