"""The filter of system calls, run in a small copy of the kernel's machine over every call."""

import errno
import platform
import signal
import struct
import subprocess
import sys

import pytest

from luminaguard.vm.hardening import PROFILES, RELAXED, STRICT
from luminaguard.vm.syscalls import CHECKED
from luminaguard_guest import profile, seccomp
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.seccomp import ALLOW, KILL, Instruction, Rules, program, refuse
from luminaguard_guest.syscalls import NUMBERS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guest is Linux")

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NOT_PERMITTED, NO_SUCH_CALL = refuse(errno.EPERM), refuse(errno.ENOSYS)
NO_SUCH_FAMILY = refuse(errno.EAFNOSUPPORT)
MACHINES = sorted(NUMBERS)


def run(code: list[Instruction], data: bytes) -> int:
    """Do what the kernel does with a filter. Source: Linux net/core/filter.c, bpf_check_classic."""
    accumulator, at = 0, 0
    for _ in range(len(code)):
        operation, jump_true, jump_false, value = code[at]
        at += 1
        match operation:
            case 0x20:  # load a word
                assert value % 4 == 0
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x54:  # and
                accumulator &= value
            case 0x05:  # go on elsewhere
                at += value
            case 0x15:  # equal
                at += jump_true if accumulator == value else jump_false
            case 0x35:  # at least
                at += jump_true if accumulator >= value else jump_false
            case 0x45:  # any bit in common
                at += jump_true if accumulator & value else jump_false
            case 0x06:  # end
                return value
            case _:
                raise AssertionError(f"{operation:#x} is no instruction of a filter")
        assert max(jump_true, jump_false) <= 255
    raise AssertionError("the filter does not end")


def verdict(rules, machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    guest_rules = profile.parse(rules.to_bytes()).rules
    values = [argument & (2**64 - 1) for argument in (*arguments, *(0,) * 6)][:6]
    head = struct.pack("<IIQ", number & 0xFFFFFFFF, audit or AUDIT[machine], 0x7F0000001000)
    return run(program(guest_rules, machine), head + struct.pack("<6Q", *values))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("sent", PROFILES.values(), ids=PROFILES)
def test_each_call_meets_what_its_group_says(sent, machine: str) -> None:
    code = program(profile.parse(sent.to_bytes()).rules, machine)
    expected = dict.fromkeys(NUMBERS[machine], NOT_PERMITTED)
    expected |= dict.fromkeys(sent.rules.allowed, ALLOW)
    expected |= dict.fromkeys(sent.rules.absent, NO_SUCH_CALL)
    for name, number in NUMBERS[machine].items():
        if name not in sent.rules.checked:
            data = struct.pack("<IIQ6Q", number, AUDIT[machine], 0, *(2**64 - 1,) * 6)
            assert run(code, data) == expected[name], name


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_that_nothing_is_known_of_do_not_exist(machine: str) -> None:
    known = set(NUMBERS[machine].values())
    unknown = [number for number in range(700) if number not in known]
    unknown += [1023, 0x3FFFFFFF, 2**31, 2**32 - 1]
    assert {verdict(STRICT, machine, number) for number in unknown} == {NO_SUCH_CALL}


def test_calls_of_the_x32_kind_do_not_exist() -> None:
    for name in ("read", "execve", "ptrace", "mount"):
        number = NUMBERS["x86_64"][name] | 0x40000000
        assert verdict(RELAXED, "x86_64", number) == NO_SUCH_CALL


@pytest.mark.parametrize(
    ("machine", "audit"),
    [
        ("x86_64", 0x40000003),  # i386
        ("x86_64", 0xC00000B7),
        ("aarch64", 0x40000028),  # arm
        ("aarch64", 0xC000003E),
        ("x86_64", 0),
    ],
)
def test_calls_by_another_processors_rules_end_the_process(machine: str, audit: int) -> None:
    for number in range(450):
        assert verdict(STRICT, machine, number, audit=audit or 1) == KILL


NEW_NAMESPACES = {
    "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
    "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000,
}  # fmt: skip
SIGCHLD, THREAD = 17, 0x3D0F00
HIGH = 0xDEAD << 32

CASES = [
    *((name, (flag | SIGCHLD,), NOT_PERMITTED) for name in ("clone",)
      for flag in NEW_NAMESPACES.values()),
    *(("unshare", (flag,), NOT_PERMITTED) for flag in (*NEW_NAMESPACES.values(), 0x80)),
    ("clone", (SIGCHLD,), ALLOW),
    ("clone", (THREAD,), ALLOW),
    ("clone", (HIGH | 0x10000000,), NOT_PERMITTED),
    ("unshare", (0x400,), ALLOW),
    *(("socket", (1, kind, 0), ALLOW) for kind in (1, 2, 3, 5, 1 | 0x80000)),
    *(("socket", (family, kind | 0x80800, 0), ALLOW) for family in (2, 10) for kind in (1, 2)),
    *(("socket", (family, kind, 0), NOT_PERMITTED) for family in (2, 10) for kind in (3, 4, 5, 10)),
    ("socket", (HIGH | 2, HIGH | 3, 0), NOT_PERMITTED),
    ("socket", (2, 3 | 0x80000, 1), NOT_PERMITTED),
    ("socket", (16, 3, 0), ALLOW),
    *(("socket", (16, 3, protocol), NO_SUCH_FAMILY) for protocol in (4, 6, 9, 12, 15, 16)),
    *(("socket", (family, 2, 0), NO_SUCH_FAMILY) for family in (0, 3, 4, 17, 29, 31, 38, 40, 44)),
    ("socketpair", (1, 1, 0), ALLOW),
    ("socketpair", (2, 1, 0), NO_SUCH_FAMILY),
    *(("ioctl", (0, number), NOT_PERMITTED) for number in (0x5412, 0x541C, 0x5423, 0x541D)),
    ("ioctl", (0, HIGH | 0x5412), NOT_PERMITTED),
    *(("ioctl", (0, number), ALLOW) for number in (0x5401, 0x5413, 0x541B)),
    ("personality", (0,), ALLOW),
    ("personality", (0xFFFFFFFF,), ALLOW),
    *(("personality", (value,), NOT_PERMITTED) for value in (8, 0x40000, 0x20000, 0x400000)),
    *((name, (0,) * at + (mode,), answer)
      for name, at in (("mknod", 1), ("mknodat", 2))
      for mode, answer in ((0o010644, ALLOW), (0o140644, ALLOW), (0o100644, ALLOW),
                           (0o020666, NOT_PERMITTED), (0o060666, NOT_PERMITTED))),
]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide_where_a_call_can_do_both_good_and_harm(machine: str) -> None:
    numbers = NUMBERS[machine]
    seen = set[str]()
    for name, arguments, answer in CASES:
        if name in numbers:
            found = verdict(STRICT, machine, numbers[name], *arguments)
            assert found == answer, (name, [hex(argument) for argument in arguments])
            seen.add(name)
    assert seen == set(CHECKED) & set(numbers)


def test_a_relaxed_guest_may_look_into_its_own_processes_and_nothing_more() -> None:
    numbers = NUMBERS["x86_64"]
    for name in ("ptrace", "process_vm_readv", "kcmp", "pidfd_getfd"):
        assert verdict(RELAXED, "x86_64", numbers[name]) == ALLOW
        assert verdict(STRICT, "x86_64", numbers[name]) == NOT_PERMITTED
    assert verdict(RELAXED, "x86_64", numbers["personality"], 0x40000) == ALLOW
    assert verdict(RELAXED, "x86_64", numbers["unshare"], 0x10000000) == NOT_PERMITTED


def test_rules_that_name_what_does_not_exist_are_refused() -> None:
    for rules in (Rules(("reed",), (), ()), Rules((), ("read",), ()), Rules((), (), ("x",))):
        with pytest.raises(GuestFault):
            program(rules, "x86_64")
    with pytest.raises(GuestFault, match="riscv64"):
        program(Rules((), (), ()), "riscv64")


def test_a_long_way_over_many_calls_takes_a_second_kind_of_jump() -> None:
    names = list(NUMBERS["x86_64"])
    code = program(Rules(tuple(names[::2]), (), tuple(names[1::4])), "x86_64")
    assert any(operation == 0x05 for operation, *_ in code)
    for name, number in NUMBERS["x86_64"].items():
        answer = NOT_PERMITTED
        if name in names[::2]:
            answer = ALLOW
        elif name in names[1::4]:
            answer = NO_SUCH_CALL
        assert run(code, struct.pack("<IIQ6Q", number, AUDIT["x86_64"], 0, *(0,) * 6)) == answer


TRY = """
import ctypes, errno, os, socket, subprocess, sys
from luminaguard_guest import privileges, profile, seccomp
libc = ctypes.CDLL(None, use_errno=True)
privileges.forbid_gaining()
seccomp.filter_for(profile.parse(sys.stdin.buffer.read()).rules).put_on()
libc.ptrace(0, 0, 0, 0)
print(errno.errorcode[ctypes.get_errno()])
libc.syscall(425, 1, 0)
print(errno.errorcode[ctypes.get_errno()])
try:
    socket.socket(socket.AF_PACKET)
except OSError as error:
    print(errno.errorcode[error.errno])
print(subprocess.run(["sh", "-c", "echo $((6 * 7)) | cat"], capture_output=True).stdout.decode())
print(open("/proc/self/status").read().partition("Seccomp:")[2].split()[0])
"""


@pytest.mark.skipif(platform.machine() not in NUMBERS, reason="no guest has this processor")
def test_the_kernel_takes_the_filter_and_does_what_it_says() -> None:
    result = subprocess.run(
        [sys.executable, "-c", TRY],
        input=STRICT.to_bytes(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()
    said = result.stdout.decode().split()
    assert said == ["EPERM", "ENOSYS", "EAFNOSUPPORT", "42", "2"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs the 32-bit way in of x86-64")
def test_the_32_bit_way_in_ends_the_process() -> None:
    # mov eax, 20 (getpid); int 0x80; ret
    code = """
import ctypes, mmap, sys
from luminaguard_guest import privileges, profile, seccomp
privileges.forbid_gaining()
seccomp.filter_for(profile.parse(sys.stdin.buffer.read()).rules).put_on()
page = mmap.mmap(-1, 4096, prot=7)
page.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=STRICT.to_bytes(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == -signal.SIGSYS


def test_the_programs_fit_into_the_kernels_limit() -> None:
    for sent in PROFILES.values():
        for machine in MACHINES:
            assert len(program(profile.parse(sent.to_bytes()).rules, machine)) <= 4096
    with pytest.raises(GuestFault, match="too long"):
        seccomp.Filter([(6, 0, 0, ALLOW)] * 4097)
