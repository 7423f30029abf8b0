"""Which backend makes the machines: the first in the user's order that this host can run.

An order is made of tiers ("hardware", "userkernel", …) and backends ("qemu", "gvisor", …). Nothing
weaker than what it names is ever taken: where nothing in it works, nothing runs.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import anyio
from anyio.to_thread import run_sync

from luminaguard.config import Settings
from luminaguard.domain.isolation import Tier
from luminaguard.errors import (
    ConfigError,
    HypervisorUnavailable,
    ImageError,
    LuminaGuardError,
    VmError,
)
from luminaguard.image.image import GuestImage
from luminaguard.image.store import ImageStore
from luminaguard.machines import apple, firecracker, gvisor, process, qemu
from luminaguard.vm.hypervisor import Hypervisor, Probe

# ruff: noqa: PLC0415 - only what this host is asked for gets imported: start-up time is a feature

DEFAULT_ORDER = ("hardware", "emulated")
"""What holds when the user names none: never a weaker tier than these by itself."""


class ClosableHypervisor(Hypervisor, Protocol):
    """A hypervisor that watches over its machines until it is closed."""

    def close(self) -> None:
        """Let go of everything; the machines have been ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One way to make machines."""

    name: str
    tiers: tuple[Tier, ...]
    """What it can give, best first; which of them, a probe says."""
    find: Callable[[], object]
    """Raises `HypervisorUnavailable` where a look shows that this host cannot run it."""
    make: Callable[[Settings, GuestImage | None], ClosableHypervisor]


def _look_for_qemu() -> None:
    if sys.platform == "linux":
        from luminaguard.vm.backends.qemu.launch import find_qemu

        find_qemu()
    else:
        from luminaguard.vm.architecture import host_architecture
        from luminaguard.vm.backends.qemu.portable.places import find_portable_qemu

        find_portable_qemu(host_architecture())


def _look_for_firecracker() -> None:
    from luminaguard.vm.backends.firecracker.host import find_programs, require_kvm

    find_programs()
    require_kvm()


def _look_for_apple() -> None:
    from luminaguard.vm.backends.apple.host import mac_facts, require_macos
    from luminaguard.vm.backends.apple.pyobjc import load

    require_macos(mac_facts())
    load()


def _look_for_gvisor() -> None:
    from luminaguard.vm.backends.gvisor.runsc import find_runsc

    find_runsc()


def _look_for_process() -> None:
    from luminaguard.vm.backends.process.host import find_bubblewrap, require_namespaces

    find_bubblewrap()
    require_namespaces()


BACKENDS = (
    Backend(
        name="firecracker",
        tiers=(Tier.HARDWARE,),
        find=_look_for_firecracker,
        make=firecracker,
    ),
    Backend(name="qemu", tiers=(Tier.HARDWARE, Tier.EMULATED), find=_look_for_qemu, make=qemu),
    Backend(name="apple", tiers=(Tier.HARDWARE,), find=_look_for_apple, make=apple),
    Backend(name="gvisor", tiers=(Tier.USERKERNEL,), find=_look_for_gvisor, make=gvisor),
    Backend(name="process", tiers=(Tier.PROCESS,), find=_look_for_process, make=process),
)
"""Every backend; where several give the same tier, the first comes first."""
_REPORT_LIMIT_S = 180.0
"""Longest that one backend may take to show what it is: trying an accelerator takes a minute."""


class BackendState(StrEnum):
    """What a report says of a backend."""

    WORKS = "works"
    UNAVAILABLE = "unavailable"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendReport:
    """One backend on this host."""

    name: str
    state: BackendState
    tier: Tier | None
    """What it gives here; None unless it works."""
    detail: str
    """How it works, or why it does not."""
    hint: str | None = None
    """What mends it."""


def candidates(
    order: tuple[str, ...], backends: tuple[Backend, ...] = BACKENDS
) -> list[tuple[Backend, Tier]]:
    """Return what an order names, each pair of backend and tier once, best first.

    Raises:
        ConfigError: a name is neither a tier nor a backend; the hint names those there are.
    """
    found: list[tuple[Backend, Tier]] = []
    for name in order or DEFAULT_ORDER:
        named = [
            (backend, tier)
            for backend in backends
            for tier in backend.tiers
            if name in {backend.name, tier.value}
        ]
        if not named and name not in set(Tier):
            raise ConfigError(
                f"there is no backend {name!r}",
                hint=f"known: {', '.join(backend.name for backend in backends)}; "
                f"tiers: {', '.join(Tier)}",
            )
        found.extend(pair for pair in named if pair not in found)
    return found


def named(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        ConfigError: there is none; the hint names those there are.
    """
    for backend in BACKENDS:
        if backend.name == name:
            return backend
    raise ConfigError(
        f"there is no backend {name!r}",
        hint=f"known: {', '.join(backend.name for backend in BACKENDS)}",
    )


async def choose(
    settings: Settings,
    image: Callable[[], GuestImage],
    backends: tuple[Backend, ...] = BACKENDS,
) -> ClosableHypervisor:
    """Return the first backend in the settings' order that works here; close it after its machines.

    `image`: finds what a probe boots, called in a thread. A probe is made only where the tier that
    a backend gives decides: not for the last one that is left.

    Raises:
        ConfigError: the order names what does not exist.
        HypervisorUnavailable: none works; the message says why for each.
        ImageError: there is no image to probe with.
    """
    wanted = candidates(settings.vm.isolation, backends)
    lacking: dict[str, HypervisorUnavailable] = {}
    for backend in dict.fromkeys(backend for backend, _ in wanted):
        try:
            await run_sync(backend.find)
        except HypervisorUnavailable as problem:
            lacking[backend.name] = problem
    left = [pair for pair in wanted if pair[0].name not in lacking]
    if left and {backend.name for backend, _ in left} == {left[0][0].name}:
        only = left[0][0]
        if {tier for _, tier in left} == set(only.tiers):
            return only.make(settings, None)
    return await _probed(settings, image, left, lacking)


async def _probed(
    settings: Settings,
    image: Callable[[], GuestImage],
    left: list[tuple[Backend, Tier]],
    lacking: dict[str, HypervisorUnavailable],
) -> ClosableHypervisor:
    reasons = {name: problem.args[0] for name, problem in lacking.items()}
    hints = [problem.hint for problem in lacking.values() if problem.hint]
    probes: dict[str, Probe | None] = {}
    for backend, tier in left:
        hypervisor = backend.make(settings, await run_sync(image))
        try:
            if backend.name not in probes:
                probes[backend.name] = None
                probes[backend.name] = await hypervisor.probe()
        except HypervisorUnavailable as problem:
            reasons[backend.name] = problem.args[0]
            if problem.hint:
                hints.append(problem.hint)
        except BaseException:
            hypervisor.close()
            raise
        probe = probes[backend.name]
        if probe is not None and probe.tier is tier:
            return hypervisor
        hypervisor.close()
        if probe is not None:
            reasons[backend.name] = f"gives {probe.tier.value} isolation here"
    said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    order = ", ".join(settings.vm.isolation or DEFAULT_ORDER)
    raise HypervisorUnavailable(
        f"nothing that may be used works on this host ({order}: {said or 'no backend gives that'})",
        hint=hints[0] if hints else "luminaguard doctor",
    )


async def backend_report(
    settings: Settings, backends: tuple[Backend, ...] = BACKENDS
) -> tuple[BackendReport, ...]:
    """Say of every backend whether it works here, by having it boot something."""
    return tuple([await _report(settings, backend) for backend in backends])


async def _report(settings: Settings, backend: Backend) -> BackendReport:
    try:
        with anyio.fail_after(_REPORT_LIMIT_S):
            probe = await _probe_of(settings, backend)
    except (HypervisorUnavailable, ImageError) as problem:
        return _without(backend, BackendState.UNAVAILABLE, problem)
    except LuminaGuardError as problem:
        return _without(backend, BackendState.BROKEN, problem)
    except TimeoutError:
        late = VmError(f"it did not show what it is within {_REPORT_LIMIT_S:.0f} s")
        return _without(backend, BackendState.BROKEN, late)
    except OSError as problem:  # one backend's trouble must not hide what the others are
        return _without(backend, BackendState.BROKEN, VmError(str(problem)))
    refused = "".join(f"; not {name}: {_one_line(reason)}" for name, reason in probe.tried)
    return BackendReport(
        name=backend.name,
        state=BackendState.WORKS,
        tier=probe.tier,
        detail=f"{probe.accelerator}, version {probe.version}{refused}",
    )


async def _probe_of(settings: Settings, backend: Backend) -> Probe:
    await run_sync(backend.find)
    image = await run_sync(ImageStore(settings.cache_dir).current, settings.vm.image)
    hypervisor = backend.make(settings, image)
    try:
        return await hypervisor.probe()
    finally:
        hypervisor.close()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _without(backend: Backend, state: BackendState, problem: LuminaGuardError) -> BackendReport:
    return BackendReport(
        name=backend.name,
        state=state,
        tier=None,
        detail=_one_line(str(problem.args[0])),
        hint=problem.hint,
    )


def recommendation(reports: tuple[BackendReport, ...]) -> str | None:
    """Say what would make machines faster where they are only emulated, or possible at all.

    None if nothing would.
    """
    tiers = {report.tier for report in reports}
    if Tier.HARDWARE in tiers:
        return None
    setting = '[vm] isolation = ["hardware", "userkernel", "emulated"]'
    if Tier.EMULATED not in tiers:
        works = Tier.USERKERNEL in tiers
        return f"only gVisor works here, and is never taken by itself: {setting}" if works else None
    if Tier.USERKERNEL in tiers:
        return f"programs run 10 to 17 times slower than here; gVisor runs them faster: {setting}"
    gvisor = next((report for report in reports if report.name == "gvisor"), None)
    if gvisor is None or gvisor.hint is None:
        return None
    return (
        "programs run 10 to 17 times slower than here; gVisor would run them faster: "
        f"{gvisor.hint}, then {setting}"
    )
