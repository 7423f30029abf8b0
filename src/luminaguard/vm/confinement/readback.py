"""Which jail layers a running QEMU really has, read from the kernel's view of its process.

Nothing here believes an option that was given: a layer counts when /proc says that it holds.
"""

import os
from collections.abc import Mapping

from luminaguard.domain.isolation import Jail
from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.confinement.apparmor import LAYER as APPARMOR
from luminaguard.vm.confinement.apparmor import AppArmor
from luminaguard.vm.confinement.berth import Berth
from luminaguard.vm.confinement.syscalls import LAYER
from luminaguard.vm.linux import is_sealed

SEALED_TEMPLATE = "sealed-template"
PRIVATE_RUNTIME = "private-runtime-directory"
MINIMUM = frozenset(
    {
        "seccomp",
        "no-capabilities",
        "mount-namespace",
        "pid-namespace",
        "net-namespace",
        "ipc-namespace",
        SEALED_TEMPLATE,
        PRIVATE_RUNTIME,
    }
)
"""Below this LuminaGuard refuses, unless the user's configuration names the missing layer."""
_NAMESPACES = {
    "mount-namespace": "mnt",
    "pid-namespace": "pid",
    "net-namespace": "net",
    "ipc-namespace": "ipc",
    "uts-namespace": "uts",
    "cgroup-namespace": "cgroup",
    "user-namespace": "user",
}
_CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
_NO_BERTH = "nothing of the host was set aside for this process"
_WRITABLE = ("/proc",)
"""Mount points that need not be read-only; /dev/null and the accelerator's device are no places."""


def read_jail(
    pid: int,
    *,
    sealed_memory: int | None,
    runtime_private: bool,
    berth: Berth | None,
    apparmor: AppArmor | None = None,
) -> Jail:
    """Return the layers that hold for process `pid`, and why the others do not.

    `sealed_memory`: the template memory that the process maps; None for a machine that booted.
    `berth`: what was taken of the host for this process.
    `apparmor`: the profile that it was started under.
    """
    found: dict[str, str | None] = {}
    status = _statuses(pid)
    found["seccomp"] = _all_are(status, ("Seccomp",), "2", "no system call filter is active")
    found[LAYER] = _filter_problem(status)
    found["no-new-privileges"] = _all_are(status, ("NoNewPrivs",), "1", "not set")
    found["no-capabilities"] = _all_are(
        status, _CAPABILITY_SETS, "0" * 16, "the process holds capabilities"
    )
    for layer, kind in _NAMESPACES.items():
        found[layer] = _namespace_problem(pid, kind)
    own_uid = berth.lease.uid if berth is not None and berth.lease is not None else None
    if own_uid is not None and found["user-namespace"] is not None:
        del found["user-namespace"]  # nothing misses it: root gave the machine a uid of its own
    found["read-only-root"] = _root_problem(pid)
    found["distinct-uid"] = _uid_problem(status, berth)
    found["no-core-dumps"] = _core_problem(pid)
    found["process-limit"] = _process_problem(pid)
    found[SEALED_TEMPLATE] = _memory_problem(sealed_memory)
    found[PRIVATE_RUNTIME] = None if runtime_private else "others may enter the runtime directory"
    found[APPARMOR] = _NO_BERTH if apparmor is None else apparmor.problem(pid)
    found["cgroup-limits"] = _NO_BERTH if berth is None else berth.cgroup.problem(pid)
    return Jail(
        layers=tuple(layer for layer, problem in found.items() if problem is None),
        missing={layer: problem for layer, problem in found.items() if problem is not None},
    )


def require_minimum(jail: Jail, *, allow_missing: frozenset[str], clone: bool) -> None:
    """Refuse a jail below the minimum.

    A machine that boots from an image shares no memory, so only clones need the sealed template.

    Raises:
        HypervisorUnavailable: a needed layer is missing; the message says which and why.
    """
    needed = MINIMUM if clone else MINIMUM - {SEALED_TEMPLATE}
    require_layers(jail, needed, allow_missing=allow_missing)


def require_layers(jail: Jail, needed: frozenset[str], *, allow_missing: frozenset[str]) -> None:
    """Refuse a jail that lacks any of these layers.

    Raises:
        HypervisorUnavailable: a needed layer is missing; the message says which and why.
    """
    lacking = sorted((needed & jail.missing.keys()) - allow_missing)
    if lacking:
        reasons = "; ".join(f"{layer}: {jail.missing[layer]}" for layer in lacking)
        raise HypervisorUnavailable(
            f"the machine's jail is below the minimum ({reasons})",
            hint=f"mend it, or accept the risk by naming {', '.join(lacking)} in the configuration",
            layers=lacking,
        )


def _statuses(pid: int) -> list[Mapping[str, str]]:
    """Return /proc/<pid>/task/*/status, as fields, for every thread."""
    statuses: list[Mapping[str, str]] = []
    tasks = f"/proc/{pid}/task"
    for thread in os.listdir(tasks):
        try:
            with open(f"{tasks}/{thread}/status", encoding="utf-8", errors="replace") as source:
                pairs = (line.partition(":") for line in source)
                statuses.append({name: value.strip() for name, _, value in pairs})
        except (FileNotFoundError, ProcessLookupError):  # that thread has ended
            continue
    return statuses


def _all_are(
    statuses: list[Mapping[str, str]], fields: tuple[str, ...], wanted: str, otherwise: str
) -> str | None:
    fine = bool(statuses) and all(one.get(name) == wanted for one in statuses for name in fields)
    return None if fine else otherwise


def _filter_problem(statuses: list[Mapping[str, str]]) -> str | None:
    """QEMU's own sandbox is one filter; the jail's comes on top. Source: proc_pid_status(5)."""
    counts = [int(one.get("Seccomp_filters", "0")) for one in statuses]
    return None if counts and min(counts) >= 2 else "only QEMU's own filter is active"


def _namespace_problem(pid: int, kind: str) -> str | None:
    try:
        theirs = os.readlink(f"/proc/{pid}/ns/{kind}")
        ours = os.readlink(f"/proc/self/ns/{kind}")
    except OSError as problem:
        return f"it cannot be read: {problem.strerror}"
    return None if theirs != ours else "shared with LuminaGuard"


def _root_problem(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as source:
            mounts = [line.split() for line in source]
    except OSError as problem:
        return f"it cannot be read: {problem.strerror}"
    writable = [
        words[4]
        for words in mounts
        if "ro" not in words[5].split(",")
        and not words[4].startswith((*_WRITABLE, "/dev/null", "/dev/kvm"))
    ]
    return f"writable: {', '.join(writable[:5])}" if writable or not mounts else None


def _uid_problem(statuses: list[Mapping[str, str]], berth: Berth | None) -> str | None:
    if berth is None or berth.lease is None:
        return berth.no_uid if berth is not None and berth.no_uid is not None else _NO_BERTH
    return _all_are(statuses, ("Uid",), "\t".join([str(berth.lease.uid)] * 4), "not the leased uid")


def _core_problem(pid: int) -> str | None:
    limits = _limit(pid, "Max core file size")
    return None if limits == ["0", "0"] else "its memory could be written to a core file"


def _process_problem(pid: int) -> str | None:
    """A limit counts only below the one that every process of this user has anyway."""
    theirs, ours = _limit(pid, "Max processes")[1:], _limit("self", "Max processes")[1:]
    if not theirs or theirs == ["unlimited"]:
        return "none is set: a kernel before 5.14 would count the user's other processes too"
    return None if ours == ["unlimited"] or int(theirs[0]) < int(ours[0]) else "none of its own"


def _limit(pid: int | str, name: str) -> list[str]:
    """Return the soft and the hard limit. Source: proc_pid_limits(5)."""
    with open(f"/proc/{pid}/limits", encoding="ascii") as source:
        line = next((line for line in source if line.startswith(name)), name)
    return line.removeprefix(name).split()[:2]


def _memory_problem(sealed_memory: int | None) -> str | None:
    if sealed_memory is None:
        return "it booted by itself: no other machine shares its memory"
    return None if is_sealed(sealed_memory) else "the template's memory can be written"
