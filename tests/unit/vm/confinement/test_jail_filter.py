"""The jail's system call filter, run by a small interpreter of classic BPF."""

import errno
import struct

import pytest

from luminaguard.vm.confinement.syscalls import DENIED, filter_program

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
READ = {"x86_64": 0, "aarch64": 63}
CLONE = {"x86_64": 56, "aarch64": 220}
SOCKET = {"x86_64": 41, "aarch64": 198}


def decide(program: bytes, number: int, *, arch: int, first: int = 0) -> int:
    """Return what the filter answers. Source: Linux, networking/filter.rst."""
    data = struct.pack("<IIQ6Q", number, arch, 0, first, 0, 0, 0, 0, 0)
    steps = list(struct.iter_unpack("<HBBI", program))
    at, held = 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (held,) = struct.unpack_from("<I", data, value)
        else:
            test = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += yes if test else no


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answer(machine: str, number: int, first: int = 0) -> int:
    return decide(filter_program(machine), number, arch=ARCHITECTURES[machine], first=first)


def test_every_call_of_the_table_is_refused_and_ordinary_ones_are_not(machine: str) -> None:
    column = list(ARCHITECTURES).index(machine)
    for name, numbers in DENIED.items():
        assert answer(machine, numbers[column]) == REFUSE, name
    assert answer(machine, READ[machine]) == ALLOW


def test_threads_may_be_made_and_namespaces_not(machine: str) -> None:
    threads = 0x003D0F00  # what pthread_create passes
    assert answer(machine, CLONE[machine], threads) == ALLOW
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000):
        assert answer(machine, CLONE[machine], flag | 17) == REFUSE
    assert answer(machine, CLONE[machine], 0x40000000) == REFUSE
    assert answer(machine, 435) == 0x00050000 | errno.ENOSYS


def test_only_local_sockets_may_be_made(machine: str) -> None:
    assert answer(machine, SOCKET[machine], 1) == ALLOW
    for family in (2, 10, 16, 17, 38, 40, (1 << 32) | 2):
        assert answer(machine, SOCKET[machine], family) == REFUSE


def test_another_interface_to_the_same_kernel_is_deadly(machine: str) -> None:
    program = filter_program(machine)
    assert decide(program, READ[machine], arch=0x40000003) == KILL  # 32-bit x86
    assert decide(program, 0x40000000, arch=ARCHITECTURES[machine]) == KILL  # x32
