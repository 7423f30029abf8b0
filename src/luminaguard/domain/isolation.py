"""What isolation a run really had: stamped on every card and record, never assumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from luminaguard.domain.calls import JsonValue


class Tier(StrEnum):
    """What stands between the guest and the host."""

    HARDWARE = "hardware"
    EMULATED = "emulated"
    USERKERNEL = "userkernel"
    PROCESS = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """The layers around the VMM process, read back from the running process."""

    layers: tuple[str, ...]
    """Layers that hold: "seccomp", "no-capabilities", "mount-namespace", "sealed-template", ..."""
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Layer → why this host does not have it."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return layers and what is missing."""
        return {"layers": list(self.layers), "missing": dict(self.missing)}


_LSM_NAMES = {"apparmor": "AppArmor", "selinux": "SELinux", "landlock": "Landlock"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestHardening:
    """How the guest was told to hold its commands: what its machine was made with, by the host."""

    profile: str
    """"strict", "relaxed"."""
    lsm: str
    """What its kernel enforces: "apparmor", "selinux"; "landlock" or "none" where it is not its
    own kernel."""

    @property
    def summary(self) -> str:
        """For people: "strict, AppArmor"."""
        return f"{self.profile}, {_LSM_NAMES.get(self.lsm, self.lsm)}"

    def as_json(self) -> dict[str, JsonValue]:
        """Return profile and access control."""
        return {"profile": self.profile, "lsm": self.lsm}


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """Backend, tier, jail and guest of one micro-VM."""

    backend: str
    tier: Tier
    accelerator: str
    """"kvm", "hvf", "whpx", "tcg", or the backend's own word."""
    jail: Jail
    guest: GuestHardening

    def as_json(self) -> dict[str, JsonValue]:
        """Return the public JSON form (`vm{…}` of an outcome, less the timings)."""
        return {
            "backend": self.backend,
            "tier": self.tier.value,
            "accelerator": self.accelerator,
            "jail": self.jail.as_json(),
            "guest": self.guest.as_json(),
        }
