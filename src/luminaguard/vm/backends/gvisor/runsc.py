"""The `runsc` program: where it is, what it is, and which platforms it knows."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.asking import ask

RUNSC = "runsc"
OVERRIDE = "LUMINAGUARD_RUNSC"
"""Environment variable that names another runsc than the one on the PATH."""
_LIMIT_S = 20.0
_OLDEST = 20221219
"""Date of the oldest release that this was run with; 2 is asked of its command line only."""
_RELEASE = re.compile(r"release-(\d{8})|0\.0~(\d{8})")
_PREFERRED = ("kvm", "systrap", "ptrace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runsc:
    """A usable runsc."""

    path: str
    version: str
    platforms: tuple[str, ...]
    """What its command line offers, best first."""


def find_runsc() -> Runsc:
    """Return the host's runsc. Blocking: asks it for its version and its flags.

    Raises:
        HypervisorUnavailable: there is none, it does not run, or it is too old.
    """
    if sys.platform != "linux":
        raise HypervisorUnavailable(
            f"gVisor needs Linux, and this is {sys.platform}", hint="use the qemu backend"
        )
    named = os.environ.get(OVERRIDE) or RUNSC
    path = shutil.which(named)
    if path is None:
        raise HypervisorUnavailable(f"{named} is missing", hint="apt-get install runsc")
    version = _said(path, "--version").splitlines()[0].removeprefix("runsc version ")
    found = _RELEASE.search(version)
    if found is not None and int(found[1] or found[2]) < _OLDEST:
        raise HypervisorUnavailable(
            f"runsc {version} is too old", hint=f"install one of {_OLDEST} or later"
        )
    flags = _said(path, "flags")
    offered = re.search(r"^\s+-platform .*\n(.*)$", flags, re.MULTILINE)
    names = offered[1] if offered is not None else "ptrace"
    platforms = tuple(one for one in _PREFERRED if re.search(rf"\b{one}\b", names))
    return Runsc(path=os.path.realpath(path), version=version, platforms=platforms or ("ptrace",))


def _said(path: str, argument: str) -> str:
    try:
        shown = ask(path, argument, limit_s=_LIMIT_S)
    except (OSError, subprocess.SubprocessError) as problem:
        raise HypervisorUnavailable(
            f"{path} does not run: {problem}", hint="apt-get install --reinstall runsc"
        ) from problem
    said = shown.stdout + shown.stderr
    if not said.strip():
        raise HypervisorUnavailable(
            f"{path} {argument} says nothing (exit code {shown.returncode})",
            hint="apt-get install --reinstall runsc",
        )
    return said
