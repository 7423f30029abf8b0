"""What stands around a QEMU outside Linux: next to nothing, and each missing layer says why."""

from collections.abc import Mapping

from luminaguard.domain.isolation import Jail
from luminaguard.vm.confinement.readback import PRIVATE_RUNTIME, SEALED_TEMPLATE

_SYSTEMS: Mapping[str, str] = {"darwin": "macOS", "win32": "Windows", "linux": "this backend"}
_SANDBOX = {
    "darwin": "macOS has no seccomp, and its sandbox-exec is deprecated and was not tried",
    "win32": "Windows has no seccomp, and an AppContainer was not tried",
    "linux": "this backend confines nothing: it stands in for other systems in tests",
}


def portable_jail(platform: str, *, runtime_private: bool) -> Jail:
    """Return the layers around a QEMU on a system that is not Linux."""
    system = _SYSTEMS.get(platform, platform)
    missing = {
        "seccomp": _SANDBOX.get(platform, f"{system} has none"),
        "no-capabilities": f"QEMU runs as this user, and {system} drops no rights of it",
        **{f"{kind}-namespace": f"{system} has none" for kind in ("mount", "pid", "net", "ipc")},
        "distinct-uid": f"QEMU runs as this user: {system} lends no other",
        "cgroup-limits": f"{system} has none",
        SEALED_TEMPLATE: "machines are booted one by one: no template is shared",
    }
    if not runtime_private:
        missing[PRIVATE_RUNTIME] = "others may enter the runtime directory"
    return Jail(layers=(PRIVATE_RUNTIME,) if runtime_private else (), missing=missing)
