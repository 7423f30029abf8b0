"""What stands between a command of the `process` backend and the host, tried from inside.

The host's kernel is shared: nothing here says that it has no bugs. Each attack went through when
the wall that it meets was taken away by hand; docs/reference/backends/process.md lists them.
"""

import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.isolation import Tier
from luminaguard.vm.backends.process.backend import ProcessHypervisor
from luminaguard.vm.backends.process.host import landlock_problem
from luminaguard.vm.hypervisor import MicroVM
from luminaguard.vm.spec import VmSpec
from rooted import WORKSPACE, furnished, reseeded, small_disks

pytestmark = pytest.mark.anyio

SCRATCH_MIB = 64
LIMIT_S = 60.0


@pytest.fixture(scope="module")
async def machine(
    process: ProcessHypervisor, vm_spec: VmSpec, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MicroVM]:
    """One for all: an attack that is held leaves it as it was."""
    place = tmp_path_factory.mktemp("process-walls")
    with small_disks(place, scratch_mib=SCRATCH_MIB) as disks:
        async with furnished(process, vm_spec, disks) as made:
            yield made


async def attack(machine: MicroVM, code: str) -> GuestReport:
    """Run a program of the attacker's; it prints what it got, so an empty report is a good one."""
    report = await machine.execute(
        Execution(python=code, cwd=WORKSPACE, timeout_s=LIMIT_S, output_limit_bytes=100_000)
    )
    assert report.exit_code == 0, report.stderr.decode()
    return report


@pytest.mark.guarantee("G8")
async def test_the_weakest_tier_is_called_what_it_is(machine: MicroVM) -> None:
    assert machine.isolation.tier is Tier.PROCESS
    assert machine.isolation.as_json()["tier"] == "process"


@pytest.fixture
def open_secret() -> Iterator[Path]:
    """A file of the host's that everybody may read: no mode of it is a wall."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "secret").write_text("the host's secret")
        (place / "secret").chmod(0o644)
        yield place / "secret"


@pytest.mark.guarantee("G1")
async def test_no_way_leads_to_the_hosts_files(machine: MicroVM, open_secret: Path) -> None:
    report = await attack(
        machine,
        f"""
import os
ways = ["", "/proc/1/root", "/proc/self/root", "/proc/1/cwd", "../../../../../.."]
for pid in os.listdir("/proc"):
    if pid.isdigit():
        ways.append(f"/proc/{{pid}}/root")
here = os.open("/", os.O_RDONLY)
os.fchdir(here)
for way in ways:
    try:
        print(open(way + {str(open_secret)!r}).read())
    except OSError:
        pass
for name in ("/mnt/profile.json", "/mnt/lower/a.txt", "/run/luminaguard", "/sys/kernel"):
    if os.path.exists(name):
        print(name)
""",
    )
    assert report.stdout == b""


@pytest.mark.guarantee("G1")
async def test_no_process_of_the_host_is_seen_or_signaled(machine: MicroVM) -> None:
    victim = await anyio.open_process([sys.executable, "-c", "input()"])
    async with victim:
        report = await attack(
            machine,
            f"""
import os, signal
for pid in range(1, {victim.pid} + 2):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        continue
    except PermissionError:
        pass
    if pid not in (1, os.getpid()):
        print("sees", pid)
for pid in ({victim.pid}, -1):
    try:
        os.kill(pid, signal.SIGTERM if pid > 0 else 0)
    except (ProcessLookupError, PermissionError):
        pass
shown = [pid for pid in os.listdir("/proc") if pid.isdigit()]
if len(shown) > 4:
    print("lists", shown)
""",
        )
        assert victim.returncode is None
        victim.kill()
    assert report.stdout == b""


@pytest.mark.guarantee("G1")
async def test_no_socket_of_the_host_is_reached(machine: MicroVM) -> None:
    name = f"\0luminaguard-{secrets.token_hex(8)}"
    with socket.socket() as listening, socket.socket(socket.AF_UNIX) as abstract:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        abstract.bind(name)
        abstract.listen()
        port = listening.getsockname()[1]
        report = await attack(
            machine,
            f"""
import socket
for family, where in ((socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_UNIX, {name!r})):
    with socket.socket(family) as one:
        try:
            one.connect(where)
            print("reached", where)
        except OSError:
            pass
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    try:
        one.sendto(b"x", ("192.0.2.1", 9))
        print("sent")
    except OSError:
        pass
for family, kind in ((socket.AF_PACKET, socket.SOCK_RAW), (40, socket.SOCK_STREAM)):
    try:
        socket.socket(family, kind)
        print("made", family)
    except OSError:
        pass
""",
        )
    assert report.stdout == b""


@pytest.mark.guarantee("G1")
async def test_nothing_outside_workspace_and_scratch_space_can_be_written(
    machine: MicroVM,
) -> None:
    report = await attack(
        machine,
        """
import os
for top in ("/", "/usr", "/usr/bin", "/etc", "/opt", "/dev", "/mnt", "/run", "/srv", "/root",
            "/proc"):
    try:
        os.close(os.open(top + "/made", os.O_CREAT | os.O_WRONLY))
        print("made", top)
    except OSError:
        pass
for name in ("/usr/bin/sh", "/etc/passwd", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
             "/proc/sys/kernel/core_pattern", "/proc/1/oom_score_adj", "/proc/sys/vm/drop_caches"):
    try:
        os.close(os.open(name, os.O_WRONLY))
        print("opened", name)
    except OSError:
        pass
for name in ("/tmp/fine", "/var/tmp/fine", "/dev/shm/fine", "/home/guest/fine", "fine"):
    open(name, "w").close()
open("/dev/null", "w").write("x")
os.rename("fine", "/srv/project/finer")
""",
    )
    assert report.stdout == b""


@pytest.mark.skipif(landlock_problem() is not None, reason=f"no Landlock: {landlock_problem()}")
async def test_landlock_refuses_what_mounts_and_modes_would_allow(machine: MicroVM) -> None:
    for name in ("comm", "oom_score_adj"):
        argv = ("sh", "-c", f"echo 1 > /proc/self/{name} && echo opened")
        report = await machine.execute(Execution(argv=argv, timeout_s=LIMIT_S))
        assert (report.stdout, report.exit_code) == (b"", 2), report.stderr.decode()


ESCAPES = """
import ctypes, os
for line in open("/proc/self/status"):
    if line.startswith("Cap") and int(line.split()[1], 16):
        print(line)
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, result):
    if result >= 0:
        print(name)
libc.ptrace.restype = ctypes.c_long
tried("attached", libc.ptrace(16, 1, None, None))
tried("seized", libc.ptrace(0x4206, 1, None, None))
class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(8)
own = Piece(ctypes.addressof(buffer), 8)
parent = int(open("/proc/self/stat").read().split()[3])
tried("read memory", libc.process_vm_readv(1, ctypes.byref(own), 1, ctypes.byref(own), 1, 0))
for pid in (1, parent):
    for name in ("mem", "environ", "maps"):
        try:
            print(name, open(f"/proc/{pid}/{name}", "rb").read(8))
        except OSError:
            pass
tried("mounted", libc.mount(b"x", b"/tmp", b"tmpfs", 0, None))
tried("unmounted", libc.umount2(b"/tmp", 2))
tried("changed root", libc.chroot(b"/tmp"))
for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000):
    tried(f"made namespace {flag:x}", libc.unshare(flag))
tried("became root", libc.setuid(0) if os.getuid() else -1)
tried("made a device", libc.mknod(b"/tmp/disk", 0o60666, 0xfe00))
tried("cloned", libc.syscall(435, None, 0))
for number in (321, 425, 323, 298, 250, 248, 304, 246, 175, 308, 101 + 0x40000000):
    tried(f"call {number}", libc.syscall(number, None, None, None, None, None))
"""


async def test_no_right_is_there_and_none_can_be_gained(machine: MicroVM) -> None:
    report = await attack(machine, ESCAPES)
    assert report.stdout == b""
    status = await machine.execute(
        Execution(argv=("grep", "-E", "^(Cap|NoNewPrivs|Seccomp:)", "/proc/self/status"))
    )
    facts = dict(line.split(":\t") for line in status.stdout.decode().splitlines())
    capabilities = {name: value for name, value in facts.items() if name.startswith("Cap")}
    assert set(capabilities.values()) == {"0" * 16}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")


@pytest.mark.guarantee("G10")
async def test_nothing_of_the_agents_is_handed_down(machine: MicroVM) -> None:
    report = await machine.execute(
        Execution(argv=("sh", "-c", "ls /proc/self/fd; env"), timeout_s=LIMIT_S)
    )
    lines = report.stdout.decode().splitlines()
    assert [line for line in lines if line.isdigit()] == ["0", "1", "2", "3"]  # 3 is ls's own
    assert not [line for line in lines if "luminaguard" in line.lower()]


async def test_forks_end_at_a_limit_and_leave_nothing(machine: MicroVM) -> None:
    report = await attack(
        machine,
        """
import os, time
made = 0
while made < 5000:
    try:
        pid = os.fork()
    except OSError:
        break
    if not pid:
        time.sleep(60)
        os._exit(0)
    made += 1
print(made)
""",
    )
    assert 100 < int(report.stdout) < 600
    assert (await machine.execute(Execution(argv=("true",)))).exit_code == 0


async def test_scratch_space_ends_where_its_limit_is_by_bytes_and_by_files(
    machine: MicroVM,
) -> None:
    report = await attack(
        machine,
        """
import errno, os
for name in ("big", "/tmp/big"):
    wrote = 0
    with open(name, "wb", buffering=0) as big:
        try:
            while wrote < 1 << 30:
                wrote += big.write(bytes(1 << 20))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
    print(wrote >> 20)
    os.unlink(name)
made = 0
try:
    while made < 200_000:
        os.close(os.open(f"/tmp/{made}", os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError as error:
    assert error.errno == errno.ENOSPC, error
for number in range(made):
    os.unlink(f"/tmp/{number}")
print(made)
open("/tmp/fine", "w").write("fine")
""",
    )
    in_workspace, in_tmp, files = map(int, report.stdout.split())
    assert in_workspace <= SCRATCH_MIB
    assert in_tmp <= SCRATCH_MIB
    assert files <= SCRATCH_MIB * 256


async def test_a_memory_hog_takes_nothing_of_the_hosts(
    process: ProcessHypervisor, vm_spec: VmSpec
) -> None:
    small = VmSpec(image=vm_spec.image, memory_mib=128)
    async with reseeded(process, small) as machine:
        report = await machine.execute(
            Execution(
                python="x = [bytes([n % 9]) * (1 << 20) for n in range(2000)]; print('got it')",
                timeout_s=LIMIT_S,
            )
        )
        assert b"got it" not in report.stdout
        assert report.exit_code != 0
        assert (await machine.execute(Execution(argv=("true",)))).exit_code == 0
