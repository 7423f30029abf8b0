"""Which layers hold around a machine of processes, read from the kernel's view of its agent."""

from luminaguard.domain.isolation import Jail
from luminaguard.vm.backends.process.host import landlock_problem
from luminaguard.vm.confinement.berth import Berth
from luminaguard.vm.confinement.readback import SEALED_TEMPLATE, read_jail

LANDLOCK = "landlock"
_QEMU_ONLY = frozenset({"syscall-filter", SEALED_TEMPLATE, "apparmor", "process-limit"})
"""Layers of QEMU's jail that mean nothing here."""
_OF_ITS_OWN = frozenset({"tmpfs", "proc", "devpts", "overlay"})
"""File systems that were mounted for the machine: writing to them changes nothing of the host's."""

MINIMUM = frozenset(
    {
        "seccomp",
        "no-new-privileges",
        "mount-namespace",
        "pid-namespace",
        "net-namespace",
        "ipc-namespace",
        "user-namespace",
        "read-only-root",
        "private-runtime-directory",
    }
)
"""Below this LuminaGuard refuses, unless the user's configuration names the missing layer."""


def read_process_jail(pid: int, *, runtime_private: bool, berth: Berth) -> Jail:
    """Return the layers that hold for the agent `pid`, and why the others do not.

    Landlock cannot be read back: the guest refuses to start if its trial of it fails.
    """
    read = read_jail(pid, sealed_memory=None, runtime_private=runtime_private, berth=berth)
    found: dict[str, str | None] = dict.fromkeys(read.layers)
    found |= {layer: said.replace("QEMU", "the agent") for layer, said in read.missing.items()}
    if found["no-capabilities"] is not None:
        found["no-capabilities"] = "the agent holds some, in its own user namespace only"
    found["read-only-root"] = _root_problem(pid)
    found[LANDLOCK] = landlock_problem()
    return Jail(
        layers=tuple(
            layer for layer, problem in found.items() if problem is None and _matters(layer)
        ),
        missing={
            layer: problem
            for layer, problem in found.items()
            if problem is not None and _matters(layer)
        },
    )


def _matters(layer: str) -> bool:
    return layer not in _QEMU_ONLY


def _root_problem(pid: int) -> str | None:
    """Return what of the host's file systems the machine could write, None when nothing.

    Source: proc_pid_mountinfo(5), fields 5, 6 and 9.
    """
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as source:
            lines = [line.split() for line in source]
    except OSError as problem:
        return f"it cannot be read: {problem.strerror}"
    writable = [
        words[4]
        for words in lines
        if "ro" not in words[5].split(",")
        and words[words.index("-") + 1] not in _OF_ITS_OWN
        and not _is_device(words[4])
    ]
    return f"writable: {', '.join(writable[:5])}" if writable or not lines else None


def _is_device(place: str) -> bool:
    """Whether it is one of the harmless devices, in the agent's /dev or the box's."""
    directory, _, name = place.rpartition("/")
    harmless = {"null", "zero", "full", "random", "urandom", "tty"}
    return directory.endswith("/dev") and name in harmless
