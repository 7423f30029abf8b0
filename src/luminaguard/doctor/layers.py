"""The layers that the table of `luminaguard doctor` shows, from the inside out."""

from dataclasses import dataclass

from luminaguard.doctor.attack import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One row of the table."""

    key: str
    where: Where
    title: str


LAYERS = tuple(
    Layer(key=key, where=where, title=title)
    for where, rows in (
        (
            Where.INSIDE,
            (
                ("capabilities", "no capabilities, none to be gained"),
                ("seccomp", "system call filter"),
                ("lsm", "AppArmor or SELinux, enforcing"),
                ("namespaces", "pid, mount, net, ipc, uts, cgroup namespaces"),
                ("kernel-files", "kernel's memory, settings and messages hidden"),
                ("agent", "agent's port, disks and files out of reach"),
                ("read-only-root", "read-only root"),
                ("no-network", "no network but loopback"),
                ("cgroup", "limits on processes, memory, CPU, I/O"),
                ("rlimits", "limits on files and core dumps"),
                ("scratch-disk", "size-capped scratch disk"),
                ("leftovers", "nothing outlives its call"),
            ),
        ),
        (
            Where.VMM,
            (
                ("jail-files", "empty, read-only root of its own"),
                ("jail-processes", "pid namespace of its own"),
                ("jail-network", "network namespace of its own"),
                ("jail-rights", "no capabilities, none to be gained"),
                ("jail-seccomp", "system call filter"),
                ("jail-environment", "nothing inherited"),
                ("jail-memory", "template memory sealed"),
                ("jail-uid", "a user of its own per machine"),
                ("jail-limits", "resource limits"),
            ),
        ),
        (
            Where.LIFECYCLE,
            (
                ("randomness", "fresh randomness and clock"),
                ("remains", "nothing of one machine in another"),
                ("ends", "machines end for certain"),
                ("pauses", "a paused machine is still"),
                ("templates", "only verified templates and images"),
            ),
        ),
    )
    for key, title in rows
)


_GET = {
    "distinct-uid": "run as root, or give the user ranges in /etc/subuid and /etc/subgid",
    "cgroup-limits": "run as root, or in a systemd user session that delegates cgroups",
    "private-runtime-directory": "chmod 700 the runtime directory",
    "apparmor": "load the profile that LuminaGuard ships, on a host with AppArmor",
}


def how_to_get(jail_layer: str) -> str:
    """Return what gives this host a jail layer that it lacks."""
    return _GET.get(jail_layer, "a host whose kernel and bubblewrap allow it")
