"""Which accelerator this host really has: found by booting, remembered until something changes.

That `/dev/kvm` opens proves nothing: on some hosts it does, and stock guests never come up.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from luminaguard.domain.isolation import Tier
from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.architecture import X86_64, Architecture, host_architecture
from luminaguard.vm.confinement.uids import can_switch_users
from luminaguard.vm.hypervisor import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One way of running guest code, with the options QEMU wants for it."""

    name: str
    tier: Tier
    option: str
    """Value of `-accel`."""
    cpu: str
    """Value of `-cpu`; where every instruction is translated the architecture's own counts."""
    device: str | None = None
    """Host device it needs."""
    boot_limit_s: float
    """A guest that has not reached user space by then never will."""

    @property
    def emulated(self) -> bool:
        """Whether every guest instruction is translated."""
        return self.tier is Tier.EMULATED


TCG = Accelerator(
    name="tcg",
    tier=Tier.EMULATED,
    option="tcg,tb-size=256",
    cpu="max",
    boot_limit_s=60.0,
)
_KVM = Accelerator(
    name="kvm",
    tier=Tier.HARDWARE,
    option="kvm",
    cpu="host",
    device="/dev/kvm",
    boot_limit_s=5.0,
)
_HVF = Accelerator(name="hvf", tier=Tier.HARDWARE, option="hvf", cpu="host", boot_limit_s=10.0)
_WHPX = Accelerator(
    name="whpx",
    tier=Tier.HARDWARE,
    option="whpx,kernel-irqchip=off",
    cpu="qemu64",
    boot_limit_s=20.0,
)
"""The hypervisor's own interrupt controller loses message-signaled interrupts, and richer models of
a processor end QEMU on some AMD hosts. Source: QEMU issues 346 and 1043. Not run here."""

CANDIDATES: Mapping[str, tuple[Accelerator, ...]] = {
    "linux": (_KVM, TCG),
    "darwin": (_HVF, TCG),
    "win32": (_WHPX, TCG),
}
"""`sys.platform` → accelerators, best first."""

Attempt = Callable[[Accelerator], Awaitable[str | None]]
"""Boots a guest; returns why it did not come up, or None when it did."""


def candidates_for(platform: str, architecture: Architecture) -> tuple[Accelerator, ...]:
    """Return what is worth trying on a system, best first.

    Windows on arm64 is left to translation: QEMU's support for its hypervisor there is new and was
    never tried by us.
    """
    if platform == "win32" and architecture is not X86_64:
        return (TCG,)
    return CANDIDATES.get(platform, (TCG,))


def accelerator_names() -> frozenset[str]:
    """Return what a probe may name on this system."""
    return frozenset(one.name for one in CANDIDATES.get(sys.platform, (TCG,)))


def by_name(name: str) -> Accelerator:
    """Return the accelerator that a probe named."""
    return next(one for one in CANDIDATES[sys.platform] if one.name == name)


async def find_accelerator(
    attempt: Attempt,
    *,
    version: str,
    candidates: tuple[Accelerator, ...] | None = None,
) -> Probe:
    """Try the candidates, best first, and take the first that a guest boots on.

    Raises:
        HypervisorUnavailable: a guest boots on none of them; the message says why for each.
    """
    tried: list[tuple[str, str]] = []
    for one in _here() if candidates is None else candidates:
        reason = device_problem(one) or await attempt(one)
        if reason is None:
            return Probe(tier=one.tier, accelerator=one.name, version=version, tried=tuple(tried))
        tried.append((one.name, reason))
    reasons = "; ".join(f"{name}: {reason}" for name, reason in tried)
    raise HypervisorUnavailable(
        f"no guest boots under QEMU on this host ({reasons})", hint="luminaguard doctor"
    )


def _here() -> tuple[Accelerator, ...]:
    return candidates_for(sys.platform, host_architecture())


def device_problem(accelerator: Accelerator) -> str | None:
    """Return why the host device of an accelerator cannot be used, None when it can be tried."""
    device = accelerator.device
    if device is None:
        return None
    if not os.path.exists(device):
        return f"{device} does not exist"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be opened by this user: add it to the device's group (kvm)"
    if can_switch_users() and os.stat(device).st_mode & 0o066 == 0:
        return f"{device} is for root only, and machines never run as root: give it to a group"
    return None
