"""Where QEMU lies on each system, and what installs it."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.architecture import Architecture

_HOMEBREW = ("/opt/homebrew/bin", "/usr/local/bin")
"""On Apple silicon and on Intel. Source: Homebrew documentation, "Installation"."""
_MACPORTS = ("/opt/local/bin",)
_INSTALL = {
    "darwin": "brew install qemu",
    "win32": "winget install SoftwareFreedomConservancy.QEMU",
}


def places(platform: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the directories to look in, first come first served, before PATH."""
    if platform == "darwin":
        return (*_HOMEBREW, *_MACPORTS)
    if platform == "win32":
        roots = [environ.get(name) for name in ("ProgramW6432", "ProgramFiles")]
        named = [str(PureWindowsPath(root) / "qemu") for root in roots if root]
        return tuple(dict.fromkeys(named))
    return ()


def program(platform: str, place: str, architecture: Architecture) -> str:
    """Return the path of QEMU in one of the places."""
    if platform == "win32":
        return str(PureWindowsPath(place) / f"{architecture.binary}.exe")
    return str(PurePosixPath(place) / architecture.binary)


def find_portable_qemu(architecture: Architecture) -> str:
    """Return the path of QEMU on this system.

    Raises:
        HypervisorUnavailable: it is not installed; the hint says how it would be.
    """
    for place in places(sys.platform, os.environ):
        path = program(sys.platform, place, architecture)
        if os.path.isfile(path):
            return path
    path = shutil.which(architecture.binary)
    if path is None:
        install = _INSTALL.get(sys.platform, f"apt-get install {architecture.package}")
        raise HypervisorUnavailable(f"{architecture.binary} is missing", hint=install)
    return os.path.realpath(path)
