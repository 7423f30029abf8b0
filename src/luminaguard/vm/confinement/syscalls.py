"""System calls that no confined process gets, whatever runs in it.

QEMU's own sandbox starts when QEMU has read its command line, and forbids little but starting
programs. This filter is bubblewrap's to load, before anything of QEMU runs. It takes away what
QEMU never needs and exploits do: other namespaces, mounts, modules, other processes' memory, and
kernel interfaces that keep having bugs. Sockets are left for local use only: QEMU's are inherited,
and AF_VSOCK would pass every network namespace.
"""

import errno
import os
import platform
import struct
from collections.abc import Mapping

from luminaguard.vm.linux import memory_file

LAYER = "syscall-filter"
DENIED: Mapping[str, tuple[int, int]] = {
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "perf_event_open": (298, 241),
    # the kernel itself
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    # interfaces that exploits begin with
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "vmsplice": (278, 75),
}
"""Name → its number on x86-64 and on 64-bit ARM. Source: Linux, syscall_64.tbl, syscall.tbl."""
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_NEW_NAMESPACES = 0x7E020000
"""Flags of clone(2) that make namespaces; CLONE_NEWTIME is of clone3 and unshare only."""
_AF_UNIX = 1
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of each machine. Source: Linux, uapi/linux/audit.h."""
_X32 = 0x40000000
"""Numbers from here on are of x86-64's other interface, which would pass the table by."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARG0 = 0, 4, 16
"""Offsets in struct seccomp_data. Source: Linux, uapi/linux/seccomp.h; little-endian machines."""
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def filter_file() -> int | None:
    """Return a descriptor of the filter for this machine; None for a machine without a table.

    Each start needs a new one: it is read from where the last reader stopped.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return None
    fd = memory_file("luminaguard-filter")
    os.write(fd, filter_program(machine))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def filter_program(machine: str) -> bytes:
    """Return the filter as classic BPF for "x86_64" or "aarch64"."""
    column = list(_ARCHITECTURES).index(machine)
    body = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _ARCHITECTURES[machine], yes=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _X32, no=1),
        _instruction(_RETURN, _KILL),
    ]
    for numbers in DENIED.values():
        body += _denied(numbers[column], errno.EPERM)
    body += _denied(_CLONE3[column], errno.ENOSYS)  # its flags lie in memory; libc then uses clone
    body += _on_argument(_CLONE[column], _ANY_BIT, _NEW_NAMESPACES, deny_if=True)
    body += _on_argument(_SOCKET[column], _EQUAL, _AF_UNIX, deny_if=False)
    return b"".join([*body, _instruction(_RETURN, _ALLOW)])


def _denied(number: int, error: int) -> list[bytes]:
    return [_instruction(_EQUAL, number, no=1), _instruction(_RETURN, _ERRNO | error)]


def _on_argument(number: int, test: int, value: int, *, deny_if: bool) -> list[bytes]:
    """Deny one call by its first argument, of which the kernel reads 32 bits as well."""
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    allow = _instruction(_RETURN, _ALLOW)
    return [
        _instruction(_EQUAL, number, no=4),
        _instruction(_LOAD, _ARG0),
        _instruction(test, value, no=1),
        *((refuse, allow) if deny_if else (allow, refuse)),
    ]


def _instruction(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """Return one struct sock_filter: code, jumps when true and false, constant."""
    return struct.pack("<HBBI", code, yes, no, value)
