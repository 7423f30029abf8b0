"""Giving up privileges: what a box and a command may never have again."""

import ctypes
import errno
import os
import resource
import struct

from luminaguard_guest.profile import Limits

UID = 1000
"""The ordinary user that commands run as."""

# Source: Linux include/uapi/linux/prctl.h
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int = 0) -> int:
    result: int = _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0)
    return result


def forbid_gaining() -> None:
    """See that no program that this process or its children start can gain a privilege.

    What the process itself holds stays: it still has to mount, and to become another user.
    """
    capability = 0
    while _prctl(_PR_CAPBSET_READ, capability) >= 0:
        if _prctl(_PR_CAPBSET_DROP, capability) < 0:
            raise OSError(ctypes.get_errno(), "cannot drop a capability from the bounding set")
        capability += 1
    # A kernel without such a set, as gVisor's, knows no such request.
    if (
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL) < 0
        and ctypes.get_errno() != errno.EINVAL
    ):
        raise OSError(ctypes.get_errno(), "cannot clear the ambient capabilities")
    if _prctl(_PR_SET_NO_NEW_PRIVS, 1) < 0:
        raise OSError(ctypes.get_errno(), "cannot set no_new_privs")


def bound_resources(limits: Limits) -> None:
    """Bound what a command may hold. No limit can be raised again; memory is never dumped.

    Where the host's limits are lower already, and may not be raised, they stay.
    """
    for number, bound in (
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_MEMLOCK, limits.locked_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(number, (bound, bound))
        except ValueError:  # Python's word for EPERM here
            hard = resource.getrlimit(number)[1]
            resource.setrlimit(number, (hard, hard))


def become_ordinary(uid: int = UID) -> None:
    """Become the ordinary user, for good: no groups, no capabilities.

    Changing all user ids away from 0 clears the permitted and effective capabilities; where a
    sandbox has no other user than 0, they are given up one set after the other.
    Source: capabilities(7), "Effect of user ID changes on capabilities".
    """
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    else:
        _drop_capabilities()


def _drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets. Source: capset(2), version 3."""
    header = struct.pack("=Ii", 0x20080522, 0)
    if _libc.capset(header, bytes(24)) < 0:
        raise OSError(ctypes.get_errno(), "cannot give up capabilities")


def set_oom_score(score: int) -> None:
    """Say how willingly the kernel ends this process when memory runs out: -1000 is never."""
    descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"%d" % score)
    finally:
        os.close(descriptor)


def raise_open_files(limit: int) -> None:
    """Allow this process so many open descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
