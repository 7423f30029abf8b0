"""The AppArmor profile for QEMU, on hosts whose kernel has AppArmor and where it is loaded.

LuminaGuard ships the profile and cannot load it: that takes the administrator, once.
"""

from dataclasses import dataclass
from pathlib import Path

LAYER = "apparmor"
PROFILE = "luminaguard-qemu"
_SECURITY = Path("/sys/kernel/security")
SOURCE = Path(__file__).parent / "profiles" / PROFILE
"""The profile as it is shipped."""
_LOAD = f"load it: sudo apparmor_parser -r {SOURCE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppArmor:
    """What this host offers."""

    profile: str | None = None
    """The profile to run QEMU under; None when there is none to take on."""
    lacking: str | None = None
    """Why there is none, with what mends it."""

    def problem(self, pid: int, proc: Path = Path("/proc")) -> str | None:
        """Return why process `pid` is not confined by it; None when the kernel says it is.

        Source: proc_pid_attr(5): the label of the process, then its mode.
        """
        if self.profile is None:
            return self.lacking or "no profile was chosen"
        for name in ("apparmor/current", "current"):
            try:
                label = (proc / str(pid) / "attr" / name).read_text(encoding="utf-8").strip("\0\n ")
            except OSError:  # kernels before 5.8 have no directory of AppArmor's own
                continue
            wanted = f"{self.profile} (enforce)"
            return None if label == wanted else f"QEMU runs as {label or 'nothing'}, not {wanted}"
        return "the kernel does not tell its label"


def find_profile(security: Path = _SECURITY) -> AppArmor:
    """Return the profile if it is loaded, else why not."""
    if not (security / "apparmor").is_dir():
        return AppArmor(lacking="this kernel has no AppArmor")
    try:
        loaded = list((security / "apparmor" / "policy" / "profiles").glob(f"{PROFILE}.*"))
    except OSError as problem:
        return AppArmor(lacking=f"its profiles cannot be listed: {problem.strerror}; {_LOAD}")
    return AppArmor(profile=PROFILE) if loaded else AppArmor(lacking=f"not loaded; {_LOAD}")
