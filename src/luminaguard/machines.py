"""From settings to machines: what they are made of, and what makes them.

Apart from `runtime`, so that a machine can be on its way while the rest is still being imported.
"""

import os
from stat import S_IFDIR
from typing import TYPE_CHECKING

from luminaguard.config import Settings
from luminaguard.image.image import GuestImage
from luminaguard.image.store import ImageStore
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.hardening import profile_named
from luminaguard.vm.linux import memory_file
from luminaguard.vm.spec import VmSpec

if TYPE_CHECKING:
    from luminaguard.vm.backends.gvisor.backend import GvisorHypervisor


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


def qemu(settings: Settings, image: GuestImage | None = None) -> QemuHypervisor:
    """Return QEMU as the settings describe it; close it after its machines.

    `image`: what its probe boots.
    """
    waived = frozenset(settings.vm.allow_missing_layers)
    return QemuHypervisor(
        settings.cache_dir,
        settings.runtime_dir,
        allow_missing=waived,
        image=image,
        rehearsal=empty_workspace,
    )


def gvisor(settings: Settings, image: GuestImage | None = None) -> "GvisorHypervisor":
    """Return gVisor as the settings describe it; close it after its machines.

    `image`: what its probe boots.
    """
    from luminaguard.vm.backends.gvisor.backend import (  # noqa: PLC0415 - only where it is chosen
        GvisorHypervisor,
    )

    waived = frozenset(settings.vm.allow_missing_layers)
    return GvisorHypervisor(
        settings.cache_dir, settings.runtime_dir, allow_missing=waived, image=image
    )


def empty_workspace() -> int:
    """Return a workspace image with nothing in it, as an open file: what clones rehearse on."""
    from luminaguard.workspace.send.erofs import ErofsWriter, Node  # noqa: PLC0415 - for pools only

    image = memory_file("luminaguard-rehearsal")
    try:
        ErofsWriter(image, capacity=1).finish([Node(mode=S_IFDIR | 0o755, mtime_ns=0, links=2)])
    except BaseException:
        os.close(image)
        raise
    return image
