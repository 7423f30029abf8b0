"""What QEMU says of its version, and which versions are taken."""

import re
import subprocess

from luminaguard.errors import HypervisorUnavailable, VmError
from luminaguard.vm.asking import ask

OLDEST = (7, 0)
"""Older ones were never run: the first release was developed on 7.2 (Debian 12)."""
_LIMIT_S = 20.0
_FORM = re.compile(r"QEMU emulator version ((\d{1,3})\.(\d{1,3})\S*.*)")


def qemu_version(binary: str) -> str:
    """Return what QEMU says of its version. Blocking.

    Raises:
        HypervisorUnavailable: it is too old.
        VmError: it does not tell, or is no QEMU.
    """
    try:
        shown = ask(binary, "--version", limit_s=_LIMIT_S)
        shown.check_returncode()
    except (OSError, subprocess.SubprocessError) as problem:
        raise VmError(
            f"{binary} does not tell its version: {problem}", hint="install QEMU anew"
        ) from problem
    found = _FORM.match(shown.stdout)
    if found is None:
        said = " ".join(shown.stdout.split())[:80]
        raise VmError(f"{binary} is no QEMU: it says {said!r}", hint="install QEMU anew")
    if (int(found[2]), int(found[3])) < OLDEST:
        raise HypervisorUnavailable(
            f"QEMU {found[2]}.{found[3]} is too old: at least {OLDEST[0]}.{OLDEST[1]} is needed",
            hint="install a newer QEMU, as Debian 12 and Ubuntu 24.04 have it",
        )
    return found[1]
