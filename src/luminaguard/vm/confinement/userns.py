"""Why a host refuses namespaces, in words that help."""

from pathlib import Path

from luminaguard.errors import HypervisorUnavailable

_SYSCTLS = Path("/proc/sys")
_SWITCHES = (
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor restricts unprivileged user namespaces on this host",
        "give bwrap an AppArmor profile with `userns,` (package apparmor-profiles: "
        "bwrap-userns-restrict), or: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "unprivileged user namespaces are switched off on this host",
        "sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "user/max_user_namespaces",
        "0",
        "no user namespaces may be made on this host",
        "sysctl -w user.max_user_namespaces=10000",
    ),
)
"""sysctl, its refusing value, what that means, how to mend it.

Source: Ubuntu 23.10 and later, "Restricted unprivileged user namespaces"; user_namespaces(7).
"""


def namespaces_refused(words: str, sysctls: Path = _SYSCTLS) -> HypervisorUnavailable:
    """Return the error for a bubblewrap that could not make its namespaces."""
    for name, refusing, meaning, mend in _SWITCHES:
        if _value(sysctls / name) == refusing:
            return HypervisorUnavailable(
                "the machine's mount, pid, net and ipc namespaces are missing: "
                f"{meaning} ({words})",
                hint=f"{mend}; or run as root",
            )
    return HypervisorUnavailable(
        f"the machine's mount, pid, net and ipc namespaces are missing: {words}",
        hint="allow user namespaces to this user, or run as root",
    )


def _value(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
