"""What a profile's filter of system calls and its limits stop, and that the agent lives on."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from guestcalls import WORKSPACE, Machines, run
from luminaguard.vm.hypervisor import GuestMount, MicroVM

pytestmark = [pytest.mark.vm, pytest.mark.anyio]


@pytest.fixture
async def machine(machines: Machines, tree: Path) -> AsyncGenerator[MicroVM]:
    async with machines(tree) as clone:
        await clone.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        yield clone


REFUSED_CALLS = """
import ctypes, errno, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
from_name = {"x86_64": 0, "aarch64": 1}[platform.machine()]
numbers = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "bpf": (321, 280),
    "perf_event_open": (298, 241), "setns": (308, 268), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "fanotify_init": (300, 262), "quotactl": (179, 60),
    "acct": (163, 89), "swapon": (167, 224), "reboot": (169, 142), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "syslog": (103, 116),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsmount": (432, 432), "mount_setattr": (442, 442), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "sethostname": (170, 161), "vhangup": (153, 58),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "clone3": (435, 435),
    "a call of the future": (999, 999),
}
for name, pair in numbers.items():
    if libc.syscall(pair[from_name], 0, 0, 0, 0, 0, 0) >= 0:
        print(name, "worked")
    else:
        print(errno.errorcode[ctypes.get_errno()], name)
"""


async def test_calls_that_reach_the_kernel_itself_are_refused(machine: MicroVM) -> None:
    report = await run(machine, "python3", "-c", REFUSED_CALLS)
    answers = [line.split(" ", 1) for line in report.stdout.decode().splitlines()]
    absent = {
        *("userfaultfd", "io_uring_setup", "keyctl", "add_key", "request_key", "clone3"),
        "a call of the future",
    }
    assert {name for answer, name in answers if answer == "ENOSYS"} == absent
    assert {answer for answer, name in answers if name not in absent} == {"EPERM"}
    assert len(answers) == 42


async def test_sockets_are_local_or_internet_and_never_raw(machine: MicroVM) -> None:
    code = """
import socket
made = []
for family in range(50):
    for kind in (1, 2, 3, 4, 5, 10):
        for protocol in (0, 1, 6, 9, 12, 15, 16, 255):
            try:
                socket.socket(family, kind, protocol).close()
                made.append((family, kind, protocol))
            except OSError:
                pass
print(sorted({family for family, _, _ in made}),
      [each for each in made if each[0] in (2, 10) and each[1] not in (1, 2)],
      {protocol for family, _, protocol in made if family == 16})
"""
    report = await run(machine, "python3", "-c", code)
    assert report.stdout == b"[1, 2, 10, 16] [] {0}\n", report


async def test_a_terminal_cannot_be_typed_into_nor_a_namespace_made(machine: MicroVM) -> None:
    code = """
import ctypes, errno, fcntl, os, pty, stat, termios
libc = ctypes.CDLL(None, use_errno=True)
master, slave = pty.openpty()
for request in (termios.TIOCSTI, 0x541C, 0x5423):
    try:
        fcntl.ioctl(slave, request, b"x")
        print("could", hex(request))
    except OSError as error:
        assert error.errno == errno.EPERM, error
for flag in (0x20000, 0x80, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
    if libc.unshare(flag) == 0:
        print("unshared", hex(flag))
for name, mode in (("c", stat.S_IFCHR), ("b", stat.S_IFBLK)):
    for number in (os.makedev(1, 1), 0):
        try:
            os.mknod("/tmp/" + name, mode | 0o666, number)
            print("made", name)
        except PermissionError:
            pass
print(libc.personality(0x40000), libc.personality(0xFFFFFFFF))
"""
    report = await run(machine, "python3", "-c", code)
    default = await run(machine, "python3", "-c", "print(open('/proc/self/personality').read())")
    value = int(default.stdout, 16) if default.exit_code == 0 else 0
    assert report.stdout.decode() == f"-1 {value}\n", report


async def test_floods_meet_their_limit_and_the_agent_answers_at_once(machine: MicroVM) -> None:
    code = """
import os, resource, signal, time
files = []
try:
    while True:
        files.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print("files", len(files) < 4096, os.strerror(error.errno))
for each in files:
    os.close(each)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    os.truncate(os.open("/tmp/big", os.O_CREAT | os.O_WRONLY), (4 << 30) + 1)
except OSError as error:
    print("size", os.strerror(error.errno))
for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
    try:
        resource.setrlimit(kind, (1 << 40, 1 << 40))
        print("raised", kind)
    except (ValueError, OSError):
        pass
started = 0
try:
    while True:
        if os.fork() == 0:
            while True:
                time.sleep(100)
        started += 1
except OSError:
    print("processes", 100 < started < 512)
"""
    report = await run(machine, "python3", "-c", code.replace('/tmp/big", ', '/tmp/big", '))
    assert report.stdout.decode().splitlines() == [
        "files True Too many open files",
        "size File too large",
        "processes True",
    ], report
    after = await run(machine, "true", timeout_s=10)
    assert after.exit_code == 0


async def test_nothing_is_mounted_writable_but_what_commands_work_on(machine: MicroVM) -> None:
    report = await run(machine, "cat", "/proc/self/mounts")
    lines = [line.split()[1:4] for line in report.stdout.decode().splitlines()]
    top = {point: (kind, options.split(",")) for point, kind, options in lines}
    writable = {point for point, (_, options) in top.items() if "rw" in options}
    own = {"/dev", "/dev/pts", "/dev/shm", "/proc", "/home", "/tmp", "/var/tmp", WORKSPACE}
    assert writable == own
    assert all("nosuid" in options for _, options in top.values())
    assert all("nodev" in options for point, (_, options) in top.items() if "/dev" not in point)
