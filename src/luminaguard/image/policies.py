"""What a guest's kernel enforces on commands, compiled when an image is built.

The guest has no compiler, and one image serves both kinds of mandatory access control. The same
sources give the same bytes with the same tools.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import as_file, files
from pathlib import Path

from luminaguard.errors import ImageError

_SOURCES = ("apparmor.features", "apparmor.profile", "selinux.cil")
_PROGRAMS_PATH = "/usr/sbin:/sbin"
"""apparmor_parser lives there; the PATH of an ordinary user often lacks it."""
_LIMIT_S = 60.0

_SELINUX_VERSION = "33"
"""Newest form that Linux 6.1 reads. Source: Linux, security/selinux/include/security.h."""


def program(name: str) -> str | None:
    """Return where a host program lies, system directories included; None if it is missing."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_PROGRAMS_PATH}")


def policies_digest() -> str:
    """Return what changes with the policies' sources."""
    digest = sha256()
    for name in _SOURCES:
        content = (files("luminaguard.image") / "recipes" / name).read_bytes()
        digest.update(sha256(content).digest())
    return digest.hexdigest()


def compile_policies(out: Path) -> tuple[str, ...]:
    """Write `apparmor.policy` and `selinux.policy` into `out`; return their names.

    Raises:
        ImageError: a compiler is missing or refused; the message is its own.
    """
    with as_file(files("luminaguard.image") / "recipes") as sources:
        for name, command in _commands(sources, out).items():
            _run(command)
            if not (out / name).stat().st_size:
                raise ImageError(f"{command[0]} wrote an empty policy")
    return tuple(_commands(out, out))


def _commands(sources: Path, out: Path) -> Mapping[str, Sequence[str]]:
    apparmor, selinux = out / "apparmor.policy", out / "selinux.policy"
    return {
        # Only compiled: not loaded into this host, not cached, and nothing of this host read.
        apparmor.name: (
            *("apparmor_parser", "--config-file", os.devnull),
            *("--skip-kernel-load", "--skip-cache", "--quiet"),
            *("--features-file", str(sources / "apparmor.features")),
            *("--ofile", str(apparmor), str(sources / "apparmor.profile")),
        ),
        selinux.name: (
            *("secilc", "--policyvers", _SELINUX_VERSION, "--filecontext", os.devnull),
            *("--output", str(selinux), str(sources / "selinux.cil")),
        ),
    }


def _run(command: Sequence[str]) -> None:
    path = program(command[0])
    if path is None:
        raise ImageError(f"{command[0]} is not installed; it is needed to build guest images")
    try:
        result = subprocess.run(
            [path, *command[1:]],
            stdin=subprocess.DEVNULL,
            env={"LC_ALL": "C"},
            capture_output=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise ImageError(f"{command[0]} does not end") from None
    if result.returncode != 0:
        reason = (result.stderr or result.stdout).decode(errors="replace").strip()
        raise ImageError(f"{command[0]} refused a policy: {reason}")
