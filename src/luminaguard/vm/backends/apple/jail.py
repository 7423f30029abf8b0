"""What stands around a machine on macOS, told in the layers that every backend names.

Apple runs each machine in a process of its own, under a sandbox profile of Apple's. None of that
can be read back by the process that asked for the machine, so none of it is claimed.
"""

from luminaguard.domain.isolation import Jail
from luminaguard.vm.confinement.readback import PRIVATE_RUNTIME, SEALED_TEMPLATE

_NO_NAMESPACES = "macOS has no namespaces"
_LACKING = {
    "seccomp": "macOS has no seccomp; Apple's own sandbox around the machine cannot be read back",
    "no-capabilities": "macOS has no capabilities; the machine's process runs as this user",
    "mount-namespace": _NO_NAMESPACES,
    "pid-namespace": _NO_NAMESPACES,
    "net-namespace": _NO_NAMESPACES,
    "ipc-namespace": _NO_NAMESPACES,
    "distinct-uid": "macOS runs the machine's process as this user",
    "cgroup-limits": "macOS has no control groups",
    SEALED_TEMPLATE: "macOS cannot seal files; a saved machine is hashed before it is restored",
}


def mac_jail(*, runtime_private: bool) -> Jail:
    """Return the layers around a machine."""
    missing = dict(_LACKING)
    if not runtime_private:
        missing[PRIVATE_RUNTIME] = "others may enter the runtime directory"
    return Jail(layers=(PRIVATE_RUNTIME,) if runtime_private else (), missing=missing)
