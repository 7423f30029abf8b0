"""How a guest holds its commands: named profiles, each a frozen value that shapes its template."""

from dataclasses import dataclass
from enum import StrEnum


class Lsm(StrEnum):
    """The mandatory access control that the guest's kernel enforces on commands."""

    APPARMOR = "apparmor"
    SELINUX = "selinux"


@dataclass(frozen=True, slots=True, kw_only=True)
class HardeningProfile:
    """What commands in a guest may do, besides working on the workspace."""

    name: str
    lsm: Lsm = Lsm.APPARMOR


STRICT = HardeningProfile(name="strict")
RELAXED = HardeningProfile(name="relaxed")
