"""The command lines around Firecracker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luminaguard.vm.backends.firecracker.host import FAULTS, KVM, Programs
from luminaguard.vm.backends.firecracker.room import READ_ONLY, WRITABLE
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.confinement.jail import Limits

API_SOCKET = "api.sock"
_INNER_UID = 65533
"""What an ordinary user's Firecracker believes to be; it has no rights outside either way."""
_INSIDE = "/firecracker"
_ENTER = (
    "{ echo 500 >/proc/self/oom_score_adj; "
    'for place do shift; [ "$place" = -- ] && break; echo 0 >"$place"; done; } 2>/dev/null; '
    'exec "$@"'
)
"""Before everything else: into the cgroup, and first in line when the host's memory runs out.

A step that fails is not the end: reading back finds what is missing.
"""
_NAMESPACES = (
    *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
    "--unshare-cgroup",
)
_WATCHED = ("--die-with-parent", "--new-session", "--clearenv")
_HOST_ROOT = ("--dev-bind", "/", "/", "--proc", "/proc", "--cap-add", "ALL")
"""The jailer builds its chroot from the host's files and devices, and gives up all rights itself.

Bubblewrap's own first process stays around it: when that dies, the kernel ends the namespace.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of Firecracker."""

    programs: Programs
    id: str
    """Letters, digits and hyphens, at most 64; carries the owner's mark."""
    mark: str
    """The owner's mark, by which everything of this start can be found and ended."""
    root: Path
    """Directory that becomes the jail's root; for the jailer BASE/PROGRAM/ID/root."""
    limits: Limits
    uid: int | None = None
    """Uid of the machine's own, by the jailer; None keeps the caller's user."""
    joins: tuple[str, ...] = ()
    """Files of the machine's cgroup that take its first process; the rest are born there."""


def confined(start: Start, *, report_fd: int) -> list[str]:
    """Return the command line that runs Firecracker in its jail.

    `report_fd`: where the id of the pid namespace's first process will be written, as JSON.
    """
    limits = ["/bin/sh", "-c", _ENTER, "sh", *start.joins, "--"]
    options = start.limits.options(own_count=start.uid is not None)
    limits += [tool("prlimit"), *options, "--"]
    watched = [tool("bwrap"), *_NAMESPACES, *_WATCHED, "--info-fd", str(report_fd)]
    watched += ["--setenv", "OWNER", start.mark]
    if start.uid is None:
        return [*limits, *watched, *_empty_root(start), "--", _INSIDE, *_own_options(start)]
    return [*limits, *watched, *_HOST_ROOT, "--", *_jailer(start, start.uid)]


def _jailer(start: Start, uid: int) -> list[str]:
    """Return the jailer's command. Source: Firecracker, docs/jailer.md.

    Not asked of it: `--netns` and `--new-pid-ns` (the namespaces around it are new and empty
    already, and a process that stays our child's child can be watched), `--cgroup` (the cgroup is
    joined before), `--daemonize`.
    """
    program = start.programs.firecracker
    base = start.root.parent.parent.parent
    return [
        str(start.programs.jailer),
        *("--id", start.id),
        *("--exec-file", str(program)),
        *("--uid", str(uid), "--gid", str(uid)),
        *("--chroot-base-dir", str(base)),
        *("--resource-limit", f"fsize={start.limits.file_bytes}"),
        *("--resource-limit", f"no-file={start.limits.open_files}"),
        *("--", "--api-sock", f"{WRITABLE}/{API_SOCKET}"),
    ]


def _empty_root(start: Start) -> Sequence[str]:
    """Return bubblewrap's options for an ordinary user's machine."""
    inside = start.root
    return (
        *("--unshare-user", "--disable-userns", "--as-pid-1"),
        *("--uid", str(_INNER_UID), "--gid", str(_INNER_UID), "--cap-drop", "ALL"),
        *("--hostname", "luminaguard"),
        *("--ro-bind", str(start.programs.firecracker), _INSIDE),
        *("--ro-bind", f"{inside}{READ_ONLY}", READ_ONLY),
        *("--bind", f"{inside}{WRITABLE}", WRITABLE),
        *("--proc", "/proc"),
        *("--dev-bind", "/dev/null", "/dev/null"),
        *("--dev-bind", KVM, KVM),
        *("--dev-bind-try", FAULTS, FAULTS),
        *("--remount-ro", "/"),
    )


def _own_options(start: Start) -> list[str]:
    return ["--id", start.id, "--api-sock", f"{WRITABLE}/{API_SOCKET}"]
