"""Whether this host can run the backend, and what is missing where it cannot."""

import platform
import sys
from dataclasses import dataclass
from enum import StrEnum

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.apple.framework import Framework, words

ENTITLEMENT = "com.apple.security.virtualization"
_OLDEST = (13, 0)
"""Named machine identifiers appeared in 12, what else is used by 13."""
_OLDEST_SAVING = (14, 0)
"""Source: Apple, VZVirtualMachine.saveMachineStateTo(url:completionHandler:), "macOS 14.0"."""


class Rosetta(StrEnum):
    """Whether programs for Intel could run in a guest on this Mac."""

    NOT_SUPPORTED = "not supported on this Mac"
    NOT_INSTALLED = "not installed: softwareupdate --install-rosetta"
    INSTALLED = "installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MacFacts:
    """What is known without asking the framework."""

    platform: str
    version: tuple[int, int]
    """Of macOS; (0, 0) elsewhere."""
    build: str
    arch: str

    @property
    def may_save(self) -> bool:
        """Whether machines can be saved at all: macOS 14 on Apple silicon."""
        return self.version >= _OLDEST_SAVING and self.arch == "arm64"

    @property
    def label(self) -> str:
        """Return the version as a probe reports it."""
        return f"macOS {self.version[0]}.{self.version[1]} ({self.build}, {self.arch})"


def mac_facts() -> MacFacts:
    """Return the facts of this host."""
    numbers = [int(part) for part in platform.mac_ver()[0].split(".") if part.isdecimal()]
    major, minor = (*numbers, 0, 0)[:2]
    return MacFacts(
        platform=sys.platform,
        version=(major, minor),
        build=platform.release(),
        arch=platform.machine(),
    )


def require_macos(facts: MacFacts) -> None:
    """Refuse a host on which nothing else need be tried.

    Raises:
        HypervisorUnavailable: it is no Mac, or its macOS is too old.
    """
    if facts.platform != "darwin":
        raise HypervisorUnavailable(
            f"the apple backend needs macOS, and this is {facts.platform}",
            hint="choose another backend: luminaguard doctor shows what works here",
        )
    if facts.version < _OLDEST:
        raise HypervisorUnavailable(
            f"macOS {_OLDEST[0]} or newer is needed, and this is {facts.label}",
            hint="update macOS, or use the qemu backend",
        )


def require_permission(framework: Framework) -> None:
    """Refuse a process that may not make machines.

    An empty configuration is never valid, but the reason tells: a missing entitlement is what the
    framework complains of first.

    Raises:
        HypervisorUnavailable: no hardware for it, or the process lacks the entitlement.
    """
    if not framework.vz.VZVirtualMachine.isSupported():
        raise HypervisorUnavailable(
            "this Mac offers no virtualization",
            hint="a Mac that is itself a virtual machine needs nested virtualization",
        )
    empty = framework.vz.VZVirtualMachineConfiguration.alloc().init()
    _, error = empty.validateWithError_(None)
    if error is not None and ENTITLEMENT in words(error):
        raise HypervisorUnavailable(
            f"the program that runs LuminaGuard, {sys.executable}, is not signed with the "
            f"entitlement {ENTITLEMENT}",
            hint="sign it as docs/reference/backends/apple.md shows (codesign --entitlements)",
        )


def rosetta(framework: Framework) -> Rosetta:
    """Return whether this Mac could translate programs for Intel in its guests.

    Source: Apple, VZLinuxRosettaAvailability: 0 not supported, 1 not installed, 2 installed.
    """
    order = (Rosetta.NOT_SUPPORTED, Rosetta.NOT_INSTALLED, Rosetta.INSTALLED)
    answer = framework.vz.VZLinuxRosettaDirectoryShare.availability()
    return order[answer] if 0 <= answer < len(order) else Rosetta.NOT_SUPPORTED
