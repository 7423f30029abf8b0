"""How a guest holds its commands: named profiles, each a frozen value that shapes its template."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from hashlib import sha256

from luminaguard.domain.calls import canonical_json
from luminaguard.domain.isolation import GuestHardening
from luminaguard.errors import ConfigError
from luminaguard.vm.syscalls import ABSENT, CHECKED, PLAIN

MIB = 1024 * 1024


class Lsm(StrEnum):
    """The mandatory access control that the guest's kernel enforces on commands."""

    APPARMOR = "apparmor"
    SELINUX = "selinux"


def _names(groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted(name for names in groups.values() for name in names))


@dataclass(frozen=True, slots=True, kw_only=True)
class SyscallRules:
    """What becomes of each system call; one that is in none of the three gets EPERM."""

    allowed: tuple[str, ...] = PLAIN
    checked: tuple[str, ...] = tuple(CHECKED)
    """Allowed with some arguments, see `luminaguard.vm.syscalls.CHECKED`."""
    absent: tuple[str, ...] = _names(ABSENT)
    """ENOSYS, so that programs do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What all commands of a machine together may use; 0 means no limit."""

    processes: int
    memory_percent: int
    """Of the machine's memory; at least 64 MiB stay free, but commands get half in any case."""
    cpu_weight: int
    """Against 100 of the guest's own processes."""
    cpu_percent: int
    """Of each CPU, so that the agent finds time at once."""
    disk_bytes_per_s: int
    """Per disk, reading and writing apart."""
    disk_operations_per_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """Hard resource limits of each process. Memory is never dumped."""

    open_files: int
    processes: int
    file_bytes: int
    locked_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HardeningProfile:
    """What commands in a guest may do, besides working on the workspace."""

    name: str
    lsm: Lsm = Lsm.APPARMOR
    ptrace_scope: int
    """Yama: 1 lets a process trace its descendants, 2 lets nobody without a capability."""
    rules: SyscallRules = field(default_factory=SyscallRules)
    shares: Shares
    limits: ProcessLimits

    def to_bytes(self) -> bytes:
        """Return the one form in which a guest is told of this profile."""
        return canonical_json(asdict(self))

    @property
    def digest(self) -> str:
        """What changes with anything in this profile."""
        return sha256(self.to_bytes()).hexdigest()

    @property
    def stamp(self) -> GuestHardening:
        """What cards and records say of it."""
        return GuestHardening(profile=self.name, lsm=self.lsm.value)


STRICT = HardeningProfile(
    name="strict",
    ptrace_scope=2,
    shares=Shares(
        processes=512,
        memory_percent=80,
        cpu_weight=50,
        cpu_percent=95,
        disk_bytes_per_s=512 * MIB,
        disk_operations_per_s=50_000,
    ),
    limits=ProcessLimits(
        open_files=4096, processes=512, file_bytes=4096 * MIB, locked_bytes=8 * MIB
    ),
)

_DEBUGGING = (
    "kcmp",
    "personality",
    "pidfd_getfd",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
)

RELAXED = HardeningProfile(
    name="relaxed",
    ptrace_scope=1,
    rules=SyscallRules(
        allowed=tuple(sorted({*PLAIN, *_DEBUGGING})),
        checked=tuple(name for name in CHECKED if name not in _DEBUGGING),
    ),
    shares=Shares(
        processes=4096,
        memory_percent=85,
        cpu_weight=100,
        cpu_percent=0,
        disk_bytes_per_s=0,
        disk_operations_per_s=0,
    ),
    limits=ProcessLimits(
        open_files=65_536, processes=4096, file_bytes=1024 * 1024 * MIB, locked_bytes=64 * MIB
    ),
)

PROFILES: Mapping[str, HardeningProfile] = {each.name: each for each in (STRICT, RELAXED)}


def profile_named(name: str, *, lsm: str = Lsm.APPARMOR) -> HardeningProfile:
    """Return a profile under one kind of mandatory access control.

    Raises:
        ConfigError: there is no such profile, or no such kind; the hint names those there are.
    """
    if name not in PROFILES:
        known = ", ".join(PROFILES)
        raise ConfigError(f"there is no hardening profile {name!r}", hint=f"known: {known}")
    if lsm not in set(Lsm):
        known = ", ".join(Lsm)
        raise ConfigError(f"no guest can enforce {lsm!r}", hint=f"known: {known}")
    return replace(PROFILES[name], lsm=Lsm(lsm))
