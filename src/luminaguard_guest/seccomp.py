"""The filter of system calls: a program for the kernel's own small machine, built from names.

Whatever is not allowed by name is refused: a call that Linux gained later does not exist here.
Source: Linux Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/seccomp.h.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from luminaguard_guest.faults import GuestFault
from luminaguard_guest.mounts import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
)
from luminaguard_guest.syscalls import NUMBERS

ALLOW = 0x7FFF0000
KILL = 0x80000000
"""SECCOMP_RET_KILL_PROCESS."""
_ERRNO = 0x00050000

# Source: Linux include/uapi/linux/audit.h
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Source: Linux include/uapi/linux/bpf_common.h
_LOAD, _RETURN, _AND, _GOTO = 0x20, 0x06, 0x54, 0x05
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x35, 0x45
_LONGEST_JUMP = 255
_MOST_INSTRUCTIONS = 4096

# Offsets in struct seccomp_data; all processors that guests run on are little endian. The kernel
# takes these arguments as 32-bit values, so their upper halves say nothing.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_CLONE_NEWTIME, _CLONE_NEWUSER = 0x80, 0x10000000
_NAMESPACES = (
    *(CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET),
    _CLONE_NEWUSER,
)
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_TYPES = 1, 2, 0xF
_TIOCSTI, _TIOCLINUX, _TIOCSETD, _TIOCCONS = 0x5412, 0x541C, 0x5423, 0x541D
_QUERY_PERSONALITY = 0xFFFFFFFF
_DEVICE_BIT = 0x2000
"""Set in the mode of character and block devices, and of nothing else that mknod makes."""

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, value: struct sock_filter."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of each call; one that is known and in none of the three gets EPERM."""

    allowed: tuple[str, ...]
    checked: tuple[str, ...]
    """Allowed with harmless arguments only: names of `CHECKS`."""
    absent: tuple[str, ...]
    """Answered as by a kernel that lacks them, so that programs do without: ENOSYS."""


def refuse(number: int) -> int:
    """Return the verdict that makes a call fail with this error."""
    return _ERRNO | number


def _argument(index: int) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _verdict(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _none_of(index: int, values: Iterable[int]) -> list[Instruction]:
    tests = list(values)
    lines = [(_IF_EQUAL, len(tests) - at, 0, value) for at, value in enumerate(tests)]
    return [_argument(index), *lines, _verdict(ALLOW), _verdict(refuse(errno.EPERM))]


def _no_bit_of(index: int, bits: int) -> list[Instruction]:
    test = (_IF_ANY_BIT, 1, 0, bits)
    return [_argument(index), test, _verdict(ALLOW), _verdict(refuse(errno.EPERM))]


def _one_of(index: int, values: Iterable[int], otherwise: int) -> list[Instruction]:
    tests = list(values)
    lines = [(_IF_EQUAL, len(tests) - at, 0, value) for at, value in enumerate(tests)]
    return [_argument(index), *lines, _verdict(refuse(otherwise)), _verdict(ALLOW)]


def _socket() -> list[Instruction]:
    """Local and internet sockets, none of them raw, and questions about network interfaces."""
    return [
        _argument(0),
        (_IF_EQUAL, 10, 0, _AF_UNIX),
        (_IF_EQUAL, 4, 0, _AF_INET),
        (_IF_EQUAL, 3, 0, _AF_INET6),
        (_IF_EQUAL, 0, 6, _AF_NETLINK),
        _argument(2),
        (_IF_EQUAL, 5, 4, _NETLINK_ROUTE),
        _argument(1),
        (_AND, 0, 0, _SOCK_TYPES),
        (_IF_EQUAL, 2, 0, _SOCK_STREAM),
        (_IF_EQUAL, 1, 2, _SOCK_DGRAM),
        _verdict(refuse(errno.EAFNOSUPPORT)),
        _verdict(ALLOW),
        _verdict(refuse(errno.EPERM)),
    ]


CHECKS: dict[str, Callable[[], list[Instruction]]] = {
    "clone": lambda: _no_bit_of(0, sum(_NAMESPACES)),
    "unshare": lambda: _no_bit_of(0, sum(_NAMESPACES) | _CLONE_NEWTIME),
    "socket": _socket,
    "socketpair": lambda: _one_of(0, [_AF_UNIX], errno.EAFNOSUPPORT),
    "ioctl": lambda: _none_of(1, [_TIOCSTI, _TIOCLINUX, _TIOCSETD, _TIOCCONS]),
    "personality": lambda: _one_of(0, [0, _QUERY_PERSONALITY], errno.EPERM),
    "mknod": lambda: _no_bit_of(1, _DEVICE_BIT),
    "mknodat": lambda: _no_bit_of(2, _DEVICE_BIT),
}
"""Call → the instructions that decide about its arguments."""


def program(rules: Rules, machine: str) -> list[Instruction]:
    """Return the filter for a machine, as in `uname -m`.

    Raises:
        GuestFault: the machine is unknown, or a rule names what does not exist.
    """
    numbers = NUMBERS.get(machine)
    if numbers is None:
        raise GuestFault(f"there is no filter of system calls for {machine}")
    return [
        # A 32-bit call has other numbers: nothing that this filter could judge.
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        _verdict(KILL),
        (_LOAD, 0, 0, _NUMBER),
        *_search(_ranges(_decisions(rules, numbers))),
    ]


Decision = int | str
"""A verdict, or the name of the check that gives one."""


def _decisions(rules: Rules, numbers: dict[str, int]) -> dict[int, Decision]:
    everywhere = {name for table in NUMBERS.values() for name in table}
    named: dict[str, Decision] = {name: refuse(errno.EPERM) for name in everywhere}
    named |= dict.fromkeys(rules.absent, refuse(errno.ENOSYS))
    named |= dict.fromkeys(rules.allowed, ALLOW)
    named |= {name: name for name in rules.checked}
    if len(named) != len(everywhere) or not CHECKS.keys() >= set(rules.checked):
        raise GuestFault("a rule names a system call that does not exist, or has no check")
    return {number: named[name] for name, number in numbers.items()}


def _ranges(decisions: dict[int, Decision]) -> list[tuple[int, Decision]]:
    """Return (first number, decision) of runs that share one; beyond what is known is ENOSYS."""
    unknown = refuse(errno.ENOSYS)
    runs: list[tuple[int, Decision]] = []
    for number in range(max(decisions) + 2):
        decision = decisions.get(number, unknown)
        if not runs or runs[-1][1] != decision:
            runs.append((number, decision))
    return runs


def _search(runs: list[tuple[int, Decision]]) -> list[Instruction]:
    """Return a binary search over the runs: the number is loaded, each way ends in a verdict."""
    if len(runs) == 1:
        decision = runs[0][1]
        return CHECKS[decision]() if isinstance(decision, str) else [_verdict(decision)]
    middle = len(runs) // 2
    below, above = _search(runs[:middle]), _search(runs[middle:])
    if len(below) <= _LONGEST_JUMP:
        return [(_IF_AT_LEAST, len(below), 0, runs[middle][0]), *below, *above]
    return [(_IF_AT_LEAST, 0, 1, runs[middle][0]), (_GOTO, 0, 0, len(below)), *below, *above]


class Filter:
    """A filter, ready to be put on: once on a process, for it and all that it starts."""

    def __init__(self, instructions: list[Instruction]) -> None:
        """Lay the program out in memory as the kernel takes it."""
        if len(instructions) > _MOST_INSTRUCTIONS:
            raise GuestFault("the filter of system calls is too long for the kernel")
        packed = b"".join(struct.pack("=HBBI", *each) for each in instructions)
        self._code = ctypes.create_string_buffer(packed, len(packed))
        self._header = ctypes.create_string_buffer(
            struct.pack("@HP", len(instructions), ctypes.addressof(self._code))
        )
        self._libc = ctypes.CDLL(None, use_errno=True)

    def put_on(self) -> None:
        """Filter this process from now on; it must have given up gaining privileges."""
        header = ctypes.c_void_p(ctypes.addressof(self._header))
        if self._libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), header) < 0:
            raise OSError(ctypes.get_errno(), "cannot filter system calls")


def filter_for(rules: Rules) -> Filter:
    """Return the filter for the machine that this runs on."""
    return Filter(program(rules, os.uname().machine))
