"""What stands around QEMU: an almost empty root, namespaces, no rights, limits.

As root, or with subordinate ids, QEMU gets a uid of its own; otherwise it stays the caller's user,
in a user namespace.
"""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass

from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.confinement.jailroot import FIRMWARE, JailRoot
from luminaguard.vm.confinement.uids import UidLease

NAMESPACE_LAYERS = frozenset({"mount-namespace", "pid-namespace", "net-namespace", "ipc-namespace"})
_INNER_UID = 65533
"""What an ordinary user's QEMU believes to be; it has no rights outside either way."""
_ENTER = (
    "{ echo 500 >/proc/self/oom_score_adj; "
    'for place do shift; [ "$place" = -- ] && break; echo 0 >"$place"; done; } 2>/dev/null; '
    'exec "$@"'
)
"""Before everything else: into the cgroup, and first in line when the host's memory runs out.

A step that fails is not the end: reading back finds what is missing.
Source: proc_pid_oom_score_adj(5): 0 is the user's own programs, 1000 dies first.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of a VMM process."""

    address_space_bytes: int
    file_bytes: int
    """Largest file it may write: a full scratch disk or a saved guest, no more."""
    processes: int = 256
    """Threads and processes, QEMU's own included."""
    open_files: int = 256

    def options(self, *, own_count: bool) -> list[str]:
        """Return them as options of prlimit(1).

        `own_count`: whether the kernel counts this machine's processes apart from the user's.
        """
        return [
            *((f"--nproc={self.processes}",) if own_count else ()),
            "--core=0",
            f"--as={self.address_space_bytes}",
            f"--fsize={self.file_bytes}",
            f"--nofile={self.open_files}",
            "--memlock=0",
            "--msgqueue=0",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """How one QEMU is to be confined."""

    root: JailRoot
    limits: Limits
    lease: UidLease | None = None
    """Uid of its own; None keeps the caller's user."""
    device: str | None = None
    """Host device to let in, such as /dev/kvm."""
    mark: str = "luminaguard"
    """Name of the process's owner, shown in the command line of each process."""
    joins: tuple[str, ...] = ()
    """Files of the machine's cgroup that take its first process; the rest are born there."""
    apparmor: str | None = None
    """Profile to run under; it is loaded."""
    namespaces: bool = True
    """False only where the user's configuration named the namespaces as dispensable."""


def confined(
    command: Sequence[str],
    confinement: Confinement,
    *,
    report_fd: int,
    filter_fd: int | None,
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and environment that run `command` inside the jail.

    `filter_fd`: the system call filter, where this machine has one.
    `report_fd`: where the id of the pid namespace's first process will be written, as JSON. That
    is the program itself, unless it gets a uid of its own: a parent without capabilities may not
    signal another user's process, not even by its death, so bubblewrap's own first process then
    stays between them, and takes the namespace along when it dies.
    """
    enter = ["/bin/sh", "-c", _ENTER, "sh", *confinement.joins, "--"]
    if confinement.lease is not None and confinement.lease.namespace is not None:
        # By this process's table: QEMU shall not inherit it.
        space = f"--user=/proc/{os.getpid()}/fd/{confinement.lease.namespace}"
        enter += [tool("nsenter"), "--preserve-credentials", space, "--"]
    own_count = confinement.lease is not None or (confinement.namespaces and counts_apart())
    limits = [tool("prlimit"), *confinement.limits.options(own_count=own_count), "--"]
    limits += _drop_rights(confinement)
    if not confinement.namespaces:
        return [*enter, *limits, *command], {}
    namespaces = _namespaces(confinement, report_fd, filter_fd)
    return [*enter, *namespaces, "--", *limits, *command, "-L", FIRMWARE], {}


def counts_apart() -> bool:
    """Whether this kernel counts processes for each user namespace: Linux 5.14 and later."""
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    return release is not None and (int(release[1]), int(release[2])) >= (5, 14)


def _namespaces(confinement: Confinement, report_fd: int, filter_fd: int | None) -> list[str]:
    options = [
        tool("bwrap"),
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup"),
        *("--die-with-parent", "--new-session"),
        *("--info-fd", str(report_fd)),
        *("--hostname", "luminaguard", "--clearenv"),
        *("--setenv", "OWNER", confinement.mark),
        *("--ro-bind", str(confinement.root.path), "/"),
        *("--proc", "/proc"),
        *("--dev-bind", "/dev/null", "/dev/null"),
        *("--setenv", "LD_LIBRARY_PATH", confinement.root.library_path),
    ]
    if filter_fd is not None:
        options += ["--seccomp", str(filter_fd)]
    if confinement.device is not None:
        options += ["--dev-bind", confinement.device, confinement.device]
    if confinement.lease is None:
        options += ["--as-pid-1", "--unshare-user", "--disable-userns"]
        options += ["--uid", str(_INNER_UID), "--gid", str(_INNER_UID)]
        return [*options, "--cap-drop", "ALL"]
    for right in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):  # given up again by setpriv
        options += ["--cap-add", right]
    return options


def _drop_rights(confinement: Confinement) -> list[str]:
    """Return the command prefix that gives up every right that is left."""
    if confinement.lease is None and confinement.namespaces and confinement.apparmor is None:
        return []
    words = [tool("setpriv"), "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"]
    if confinement.apparmor is not None:
        words += ["--apparmor-profile", confinement.apparmor]
    if not confinement.namespaces:
        words += ["--pdeathsig", "KILL"]
    if confinement.lease is not None:
        groups = device_group(confinement.device)
        words += ["--bounding-set=-all"]
        number = str(confinement.lease.becomes)
        words += ["--reuid", number, "--regid", number]
        words += ["--groups", str(groups)] if groups else ["--clear-groups"]
    return [*words, "--"]


def device_group(device: str | None) -> int | None:
    """Return the group that may use a host device, None when everybody may."""
    if device is None:
        return None
    about = os.stat(device)
    return None if about.st_mode & 0o006 == 0o006 else about.st_gid
