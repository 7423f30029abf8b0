"""What this host must have for Firecracker: its programs, and a device that may be used."""

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.confinement.uids import can_switch_users

KVM = "/dev/kvm"
FAULTS = "/dev/userfaultfd"
_FIRECRACKER, _JAILER = "LUMINAGUARD_FIRECRACKER", "LUMINAGUARD_JAILER"
_GET = "install a release of Firecracker on PATH, or name it: LUMINAGUARD_FIRECRACKER=/path"
_GET_JAILER = "put the jailer of the same release beside it, or name it: LUMINAGUARD_JAILER=/path"
_ELF = b"\x7fELF\x02\x01"
_INTERPRETER = 3
"""Type of a program header that names a dynamic linker. Source: elf(5), PT_INTERP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programs that machines are started with."""

    firecracker: Path
    jailer: Path | None
    """None where LuminaGuard does not run as root: the jailer needs that."""

    @property
    def identity(self) -> str:
        """Return what changes when either is another one."""
        found = [self.firecracker, *([self.jailer] if self.jailer else [])]
        abouts = [(path, os.stat(path)) for path in found]
        return " ".join(f"{path} {about.st_size} {about.st_mtime_ns}" for path, about in abouts)


def find_programs(
    environ: Mapping[str, str] | None = None, *, root: bool | None = None
) -> Programs:
    """Return the programs of this host.

    Args:
        environ: The environment; default: this process's.
        root: Whether machines get users of their own by the jailer; default: as this process can.

    Raises:
        HypervisorUnavailable: one is missing, or cannot run confined.
    """
    if sys.platform != "linux":
        raise HypervisorUnavailable(
            "Firecracker runs on Linux only",
            hint="run LuminaGuard on Linux, or use another backend",
        )
    environ = os.environ if environ is None else environ
    root = can_switch_users() if root is None else root
    firecracker = _find("firecracker", environ.get(_FIRECRACKER), _GET)
    if "firecracker" not in firecracker.name:
        raise HypervisorUnavailable(
            f"{firecracker} must have firecracker in its name: its jailer insists on that",
            hint="rename the file",
        )
    if _is_dynamic(firecracker):
        raise HypervisorUnavailable(
            f"{firecracker} is linked dynamically, so it cannot run in an empty root",
            hint="use the released program, which is linked statically",
        )
    if not root:
        return Programs(firecracker=firecracker, jailer=None)
    beside = firecracker.with_name(firecracker.name.replace("firecracker", "jailer", 1))
    named = environ.get(_JAILER) or (str(beside) if beside.is_file() else None)
    return Programs(firecracker=firecracker, jailer=_find("jailer", named, _GET_JAILER))


def kvm_problem(device: str = KVM) -> str | None:
    """Return why hardware virtualization cannot even be tried; None when it can be."""
    if not os.path.exists(device):
        return f"{device} does not exist: load the module kvm_intel or kvm_amd, or switch it on"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be opened by this user: add it to the device's group (kvm)"
    return None


def require_kvm(device: str = KVM) -> None:
    """Refuse a host whose KVM device cannot be opened.

    Raises:
        HypervisorUnavailable: with the reason.
    """
    problem = kvm_problem(device)
    if problem is not None:
        what, _, mend = problem.partition(": ")
        raise HypervisorUnavailable(f"Firecracker needs KVM, and {what}", hint=mend)


def cpu_identity() -> str:
    """Return what a saved guest depends on of the host: kernel and processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as source:
            kept = [line for line in source if line.startswith(("model name", "flags", "Features"))]
    except OSError:
        kept = [platform.processor()]
    return f"{platform.release()} {sorted(set(kept))}"


def _find(name: str, named: str | None, hint: str) -> Path:
    path = named or shutil.which(name)
    if path is None:
        raise HypervisorUnavailable(f"{name} is missing", hint=hint)
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        raise HypervisorUnavailable(f"{path} is no program that can be run", hint=hint)
    return Path(os.path.realpath(path))


def _is_dynamic(program: Path) -> bool:
    """Whether a program needs libraries of the host. Source: elf(5), 64-bit little-endian."""
    with open(program, "rb") as source:
        head = source.read(64)
        if not head.startswith(_ELF) or len(head) < 64:
            return False  # a script, as tests have them; what it needs is its own affair
        offset = int.from_bytes(head[32:40], "little")
        size, count = (int.from_bytes(head[at : at + 2], "little") for at in (54, 56))
        source.seek(offset)
        table = source.read(size * count)
    types = (table[at : at + 4] for at in range(0, len(table), max(size, 1)))
    return any(int.from_bytes(one, "little") == _INTERPRETER for one in types)
