"""What this host must have for processes to be held: bubblewrap, user namespaces, Landlock."""

import ctypes
import os
import re
import subprocess
import sys
from dataclasses import dataclass

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.asking import ask
from luminaguard.vm.confinement.hosttools import tool

OVERRIDE = "LUMINAGUARD_BWRAP"
"""Environment variable that names another bubblewrap than the one on the PATH."""
_OLDEST = (0, 4)
"""First with `--die-with-parent`, `--as-pid-1` and user namespaces that root enters before."""
_LIMIT_S = 10.0
_LANDLOCK_CREATE, _VERSION_ONLY = 444, 1
"""Source: Linux include/uapi/asm-generic/unistd.h, include/uapi/linux/landlock.h."""
_OLDEST_LANDLOCK = 2
"""As the guest agent has it: version 1 lets nothing be moved between directories."""
_SPACES = ("--user", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--mount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubblewrap:
    """A usable bubblewrap."""

    path: str
    version: str


def find_bubblewrap() -> Bubblewrap:
    """Return the host's bubblewrap. Blocking: asks it for its version.

    Raises:
        HypervisorUnavailable: there is none, it does not run, or it is too old.
    """
    if sys.platform != "linux":
        raise HypervisorUnavailable(
            f"processes are confined with Linux means, and this is {sys.platform}",
            hint="use the qemu backend",
        )
    path = os.environ.get(OVERRIDE) or tool("bwrap")
    said = _said(path)
    found = re.fullmatch(r"bubblewrap (\d+)\.(\d+)\S*", said)
    if found is None:
        raise HypervisorUnavailable(
            f"{path} is no bubblewrap: it says {said[:80]!r}", hint="apt-get install bubblewrap"
        )
    if (int(found[1]), int(found[2])) < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise HypervisorUnavailable(
            f"{said} is too old", hint=f"install bubblewrap {wanted} or later"
        )
    return Bubblewrap(path=path, version=said.removeprefix("bubblewrap "))


def _said(path: str) -> str:
    try:
        shown = ask(path, "--version", limit_s=_LIMIT_S)
    except (OSError, subprocess.SubprocessError) as problem:
        raise HypervisorUnavailable(
            f"{path} does not run: {problem}", hint="apt-get install --reinstall bubblewrap"
        ) from problem
    return shown.stdout.strip()


def require_namespaces() -> None:
    """See that this process may make the namespaces that hold a machine. Blocking; some 10 ms.

    Raises:
        HypervisorUnavailable: it may not; the message has the kernel's word, the hint what allows.
    """
    made = subprocess.run(
        [tool("unshare"), *_SPACES, "--", "true"],
        capture_output=True,
        timeout=_LIMIT_S,
        check=False,
        text=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    if made.returncode:
        raise HypervisorUnavailable(
            f"this user may not make user namespaces: {made.stderr.strip()}",
            hint=namespace_hint(),
        )


def namespace_hint() -> str:
    """Return what allows user namespaces on this host."""
    settings = (
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
    )
    for name, forbidding, mend in settings:
        try:
            with open(f"/proc/sys/{name}", encoding="ascii") as source:
                if source.read().strip() == forbidding:
                    return f"sudo {mend}"
        except OSError:
            continue
    return "in a container, allow it to make user namespaces, or use the qemu backend"


def landlock_problem() -> str | None:
    """Return why this kernel holds nobody by Landlock; None when it does."""
    if sys.platform != "linux":
        return "this is not Linux"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    version = int(libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _VERSION_ONLY))
    if version < 0:
        return "this kernel has no Landlock: Linux 5.19 or later, with landlock in its lsm= list"
    if version < _OLDEST_LANDLOCK:
        return "this kernel's Landlock forbids moving files between directories: Linux 5.19 has it"
    return None
