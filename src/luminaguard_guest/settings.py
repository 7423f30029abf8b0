"""Setting the guest's kernel up before any command: policy, bounds, settings, and the locks."""

import os

from luminaguard_guest import cgroups, lsm, workspace
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.lsm import Lsm
from luminaguard_guest.profile import POLICY, Profile

_MOST_POLICY_BYTES = 4 * 1024 * 1024

_SETTINGS = {
    "dev/tty/ldisc_autoload": "0",
    "dev/tty/legacy_tiocsti": "0",
    "fs/protected_fifos": "1",
    "fs/protected_hardlinks": "1",
    "fs/protected_regular": "1",
    "fs/protected_symlinks": "1",
    "fs/suid_dumpable": "0",
    "kernel/dmesg_restrict": "1",
    "kernel/io_uring_disabled": "2",
    "kernel/kexec_load_disabled": "1",
    "kernel/kptr_restrict": "2",
    "kernel/panic_on_oops": "1",
    "kernel/perf_event_paranoid": "3",
    "kernel/sysrq": "0",
    "kernel/unprivileged_bpf_disabled": "1",
    "net/core/bpf_jit_harden": "2",
    "user/max_user_namespaces": "0",
    "vm/unprivileged_userfaultfd": "0",
}
"""What keeps an ordinary user away from what it has no use for, and ends a machine whose kernel
was shaken. Kernels without one of these lack what it guards.
Source: Linux Documentation/admin-guide/sysctl/."""

_NO_MORE_MODULES = "kernel/modules_disabled"


def settle(profile: Profile) -> Lsm:
    """Set the kernel up as the profile says; return the access control that is now enforced.

    Raises:
        GuestFault: the policy is missing or refused, or a setting did not take.
        OSError: the kernel lacks something that the profile asks for.
    """
    enforced = lsm.lsm_named(profile.lsm, profile.name)
    lsm.mount_security()
    enforced.load(_policy())
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cgroups.prepare(profile.shares, memory_bytes=memory_bytes, disks=workspace.disk_numbers())
    for name, value in _SETTINGS.items():
        if os.path.exists(f"/proc/sys/{name}"):
            _set(name, value)
    _set("kernel/yama/ptrace_scope", str(profile.ptrace_scope))
    _set(_NO_MORE_MODULES, "1")
    lsm.lock_down()
    return enforced


def _set(name: str, value: str) -> None:
    path = f"/proc/sys/{name}"
    cgroups.write(path, value)
    with open(path, "rb", buffering=0) as file:
        found = file.read().strip().decode()
    if found != value:
        raise GuestFault(f"{name} is {found}, not {value}")


def _policy() -> bytes:
    with open(POLICY, "rb", buffering=0) as file:
        content = file.read(_MOST_POLICY_BYTES + 1)
    if not 0 < len(content) <= _MOST_POLICY_BYTES:
        raise GuestFault("the policy of the guest's kernel is empty or too long")
    return content
