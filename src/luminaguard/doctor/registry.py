"""All attacks, each under one name."""

from luminaguard.doctor.attack import Attack
from luminaguard.doctor.catalogue.floods import FLOODS
from luminaguard.doctor.catalogue.kernel import KERNEL
from luminaguard.doctor.catalogue.lifecycle import LIFECYCLE, RUNNING_QEMU
from luminaguard.doctor.catalogue.rights import RIGHTS
from luminaguard.doctor.catalogue.surroundings import SURROUNDINGS
from luminaguard.doctor.catalogue.vmm import VMM

ALLOWED = {
    "relaxed": frozenset(
        {
            "change-itself-through-proc",
            "fork-bomb",
            "lock-memory",
            "make-a-huge-file",
            "open-files-flood",
            "take-the-whole-processor",
            "weaken-address-randomness",
        }
    )
}
"""Hardening profile → attacks that it lets through on purpose, for builds that need it."""

ATTACKS: tuple[Attack, ...] = (
    *RIGHTS,
    *KERNEL,
    *SURROUNDINGS,
    *FLOODS,
    *VMM,
    *RUNNING_QEMU,
    *LIFECYCLE,
)
