"""Which versions of Firecracker this backend takes, and what it says of the others."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.asking import ask
from luminaguard.vm.backends.firecracker.api.faults import printable

_LIMIT_S = 10.0
_FORM = re.compile(r"\bv?(\d{1,4})\.(\d{1,4})\.(\d{1,4})([-+.\w]*)")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Version:
    """A release of Firecracker; `suffix` marks builds between releases."""

    major: int
    minor: int
    patch: int
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}{self.suffix}"

    @property
    def series(self) -> tuple[int, int]:
        """Major and minor: what may change the interface."""
        return self.major, self.minor


OLDEST = Version(major=1, minor=8, patch=0)
"""Firecracker describes its devices to the guest by ACPI from here on.

The guest's kernel finds them in no other way: Debian builds it without
VIRTIO_MMIO_CMDLINE_DEVICES. Source: Firecracker 1.8.0, CHANGELOG; Debian linux-image-cloud 6.1.
"""
NEWEST = Version(major=1, minor=17, patch=0)
"""The interface is written after the description of this one. Newer ones are taken, and named."""


def parse_version(text: str) -> Version | None:
    """Return the first version in a text, such as `Firecracker v1.16.1`."""
    found = _FORM.search(text)
    if found is None:
        return None
    major, minor, patch = (int(part) for part in found.groups()[:3])
    return Version(major=major, minor=minor, patch=patch, suffix=found[4])


def require_known(version: Version) -> str:
    """Return the version in words for a probe; a newer one than is known is named as that.

    Raises:
        HypervisorUnavailable: it is too old.
    """
    if version.series < OLDEST.series:
        raise HypervisorUnavailable(
            f"Firecracker {version} is too old: at least {OLDEST} is needed",
            hint="install a current release of Firecracker, with its jailer",
        )
    if version.series > NEWEST.series:
        return f"{version} (newer than {NEWEST}, the newest that LuminaGuard knows)"
    return str(version)


def program_version(program: Path) -> Version:
    """Ask a program of Firecracker's for its version. Blocking.

    Raises:
        HypervisorUnavailable: it does not tell.
    """
    try:
        shown = ask(program, "--version", limit_s=_LIMIT_S)
        shown.check_returncode()
    except (OSError, subprocess.SubprocessError) as problem:
        raise HypervisorUnavailable(
            f"{program} does not tell its version: {problem}",
            hint="point LUMINAGUARD_FIRECRACKER to a release of Firecracker",
        ) from problem
    version = parse_version(shown.stdout)
    if version is None:
        raise HypervisorUnavailable(
            f"{program} is no Firecracker that is known here: it says {printable(shown.stdout)!r}",
            hint="point LUMINAGUARD_FIRECRACKER to a release of Firecracker",
        )
    return version
