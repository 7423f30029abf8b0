"""Which layers hold around a running sandbox, read from the kernel's view of its processes.

runsc builds its own jail; nothing here believes that it did. Looked at is the sentry, the process
that is the guest's kernel: whoever breaks out of the guest is that process.
"""

from collections.abc import Mapping

from luminaguard.domain.isolation import Jail
from luminaguard.vm.confinement.berth import Berth
from luminaguard.vm.confinement.cgroups.machine import MachineCgroup
from luminaguard.vm.confinement.jail import counts_apart
from luminaguard.vm.confinement.readback import SEALED_TEMPLATE, read_jail
from luminaguard.vm.linux import user_id

_QEMU_ONLY = frozenset({"syscall-filter", SEALED_TEMPLATE, "apparmor"})
"""Layers of QEMU's jail that mean nothing here: runsc's filter is one, and no memory is shared."""

MINIMUM = frozenset(
    {
        "seccomp",
        "mount-namespace",
        "pid-namespace",
        "net-namespace",
        "ipc-namespace",
        "private-runtime-directory",
    }
)
"""Below this LuminaGuard refuses, unless the user's configuration names the missing layer."""


def read_sandbox_jail(pid: int, *, runtime_private: bool, cgroup: MachineCgroup) -> Jail:
    """Return the layers that hold for the sentry `pid`, and why the others do not."""
    berth = Berth(cgroup=cgroup, lease=None, no_uid="runsc runs all sandboxes as the same user")
    read = read_jail(pid, sealed_memory=None, runtime_private=runtime_private, berth=berth)
    without = _QEMU_ONLY if _counted() else _QEMU_ONLY | {"process-limit"}
    missing: Mapping[str, str] = {
        layer: reason.replace("QEMU", "the sandbox")
        for layer, reason in read.missing.items()
        if layer not in without
    }
    return Jail(
        layers=tuple(layer for layer in read.layers if layer not in without), missing=missing
    )


def _counted() -> bool:
    """Whether the sandbox is under a number of threads of its own: root's has a control group."""
    return user_id() != 0 and counts_apart()
