"""What a micro-VM is made of, before it exists."""

from dataclasses import dataclass

from luminaguard.image.image import GuestImage
from luminaguard.vm.hardening import STRICT, HardeningProfile

GUEST_UID = 1000
"""The ordinary user that commands run as inside every guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSpec:
    """Shape of a machine. Everything here is part of a template's key."""

    image: GuestImage
    memory_mib: int = 512
    vcpus: int = 1
    """One under TCG is faster than two. Measured: research on the QEMU path, cold boot table."""
    disk_limit_bytes: int = 8 * 1024**3
    """Size of both disk slots' placeholders: no workspace image or scratch disk may exceed it."""
    profile: HardeningProfile = STRICT
