"""What holds commands in a guest lets them work, and stops them from all else: proven by trying.

The same tests run where AppArmor is enforced and where SELinux is.
"""

import os
import shutil
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from guestcalls import WORKSPACE, Machines, harvested, python, run, shell
from luminaguard.domain.isolation import GuestHardening
from luminaguard.errors import GuestError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.hardening import MIB, STRICT, Lsm, profile_named
from luminaguard.vm.hypervisor import GuestMount, MicroVM, Template
from luminaguard.vm.spec import VmSpec

pytestmark = [pytest.mark.vm, pytest.mark.anyio]

LABELS = {Lsm.APPARMOR: "luminaguard-strict (enforce)", Lsm.SELINUX: "u:r:strict_t:s0"}
SLOW_DISK = 4 * MIB


@pytest.fixture(scope="module", params=list(Lsm))
def lsm(request: pytest.FixtureRequest) -> Lsm:
    """What the guest's kernel enforces."""
    return request.param


@pytest.fixture(scope="module")
def qemu_template(
    qemu: QemuHypervisor, vm_spec: VmSpec, qemu_template: Template, lsm: Lsm
) -> Template:
    """The template of all tests, and one that differs: SELinux, and disks that are slow."""
    if lsm is Lsm.APPARMOR:
        return qemu_template
    shares = replace(STRICT.shares, disk_bytes_per_s=SLOW_DISK)
    profile = replace(profile_named("strict", lsm=lsm), shares=shares)
    return anyio.run(qemu.template, replace(vm_spec, profile=profile))


@pytest.fixture
async def machine(machines: Machines, tree: Path) -> AsyncGenerator[MicroVM]:
    async with machines(tree) as clone:
        await clone.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        yield clone


@pytest.mark.guarantee("G8")
async def test_a_machine_says_how_its_guest_was_made(machine: MicroVM, lsm: Lsm) -> None:
    assert machine.isolation.guest == GuestHardening(profile="strict", lsm=lsm)
    assert machine.isolation.as_json()["guest"] == {"profile": "strict", "lsm": lsm.value}


@pytest.mark.parametrize("resident", [False, True], ids=["program", "resident python"])
async def test_commands_are_confined_filtered_and_without_any_capability(
    machine: MicroVM, lsm: Lsm, resident: bool
) -> None:
    code = """
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(open("/proc/self/attr/current").read().strip("\\0\\n"))
print(status["Seccomp"].strip(), status["NoNewPrivs"].strip())
print({status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")})
"""
    report = await (python(machine, code) if resident else run(machine, "python3", "-c", code))
    assert report.stdout.decode().splitlines() == [LABELS[lsm], "2 1", "{'0000000000000000'}"]


async def test_all_that_work_on_a_project_needs_still_works(machine: MicroVM) -> None:
    script = """
set -e
echo new > made.txt; mkdir -p deep/er; echo more >> a.txt; chmod 700 tool
mv d1 moved; rm -r gone; ln -s a.txt link; ln a.txt twin; mkfifo pipe; ./tool; echo x > '(x)'
python3 -c 'import os; os.rename("moved", "again"); os.rename("made.txt", "deep/er/made.txt")'
git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -q -m all
printf 'all:\\n\\tcp a.txt b.txt\\n' > Makefile; make -s; cat b.txt | sort | head -1
printf 'def test():\\n    assert 1\\n' > test_it.py; pytest -q -p no:cacheprovider . | tail -1
cp /bin/true own; ./own; touch /home/guest/h /tmp/t /var/tmp/v /dev/shm/s
"""
    report = await shell(machine, script)
    assert report.exit_code == 0, report.stderr.decode()
    said = report.stdout.decode().split()
    assert said[:2] == ["tool", "hello"]
    assert said[2:4] == ["1", "passed"]
    found, _ = await harvested(machine)
    assert {b"again", b"deep/er/made.txt", b"b.txt", b"link", b"twin", b".git/HEAD"} <= set(found)


async def test_what_interpreters_and_libraries_do_under_the_hood_still_works(
    machine: MicroVM,
) -> None:
    code = """
import asyncio, concurrent.futures, ctypes, mmap, multiprocessing, os, pty, resource, select
import shutil, signal, socket, sqlite3, subprocess, tempfile, threading
done = []
left, right = socket.socketpair(); left.send(b"x"); done.append(right.recv(1) == b"x")
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close(); done.append(True)
path = tempfile.mkdtemp() + "/s"
listener = socket.socket(socket.AF_UNIX); listener.bind(path); listener.listen()
socket.socket(socket.AF_UNIX).connect(path); done.append(True)
done.append([name for _, name in socket.if_nameindex()] == ["lo"])
done.append(socket.getaddrinfo("localhost", 80) != [])
memory = os.memfd_create("x"); os.write(memory, b"abc"); shared = mmap.mmap(memory, 3)
done.append(shared[:] == b"abc")
done.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) != None)
called = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda number: number + 1)
done.append(called(1) == 2)
with multiprocessing.get_context("fork").Pool(2) as pool:
    done.append(pool.map(abs, [-1, -2]) == [1, 2])
with concurrent.futures.ThreadPoolExecutor(4) as threads:
    done.append(list(threads.map(abs, [-1])) == [1])
async def child():
    made = await asyncio.create_subprocess_exec("echo", "hi", stdout=subprocess.PIPE)
    return (await made.communicate())[0]
done.append(asyncio.run(child()) == b"hi\\n")
master, slave = pty.openpty(); os.write(slave, b"t"); done.append(os.read(master, 1) == b"t")
done.append(sqlite3.connect("x.db").execute("create table t (a)") is not None)
lock = multiprocessing.Lock(); done.append(lock.acquire())
os.sched_setaffinity(0, os.sched_getaffinity(0)); os.setpriority(os.PRIO_PROCESS, 0, 5)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
os.kill(os.fork() or os._exit(0), 0); os.wait()
done.append(subprocess.run(["bash", "-c", "cat <<< here; cat <(echo there)"],
                           capture_output=True).stdout == b"here\\nthere\\n")
print(len(done), all(done))
"""
    report = await run(machine, "python3", "-c", code)
    assert report.stdout == b"15 True\n", report


async def test_files_that_an_ordinary_user_may_write_are_refused_by_the_policy(
    machine: MicroVM, lsm: Lsm
) -> None:
    # All of these are the command's own, by owner and mode.
    code = """
import errno
for name in ("coredump_filter", "clear_refs", "oom_score_adj", "timerslack_ns", "mem"):
    try:
        open(f"/proc/self/{name}", "r+b", buffering=0)
        print(name, "opened")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
"""
    report = await run(machine, "python3", "-c", code)
    assert {line.split()[1] for line in report.stdout.decode().splitlines()} == {"EACCES"}, lsm


async def test_no_command_changes_its_own_confinement(machine: MicroVM) -> None:
    code = """
for text in ("changeprofile unconfined", "changeprofile luminaguard-relaxed",
             "u:r:relaxed_t:s0", "u:r:kernel_t:s0", "permhat 0"):
    for name in ("current", "exec"):
        try:
            open(f"/proc/self/attr/{name}", "w").write(text)
            print("could", name, text)
        except OSError:
            pass
print(open("/proc/self/attr/current").read().strip("\\0\\n"))
"""
    before = await run(machine, "cat", "/proc/self/attr/current")
    report = await run(machine, "python3", "-c", code)
    assert report.stdout.decode().split("\n")[0] == before.stdout.decode().strip("\0\n")


@pytest.mark.parametrize("lsm", [Lsm.SELINUX], indirect=True)
async def test_disk_bandwidth_is_bounded(machine: MicroVM) -> None:
    blocks = 3 * SLOW_DISK // 65536
    script = f"dd if=/dev/zero of=/tmp/x bs=64k count={blocks} oflag=direct 2>&1; rm /tmp/x"
    report = await shell(machine, script)
    assert report.exit_code == 0, report
    assert report.duration_s > 2, report


TRACING = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 2 + [ctypes.c_void_p] * 2
child = os.fork()
if not child:
    libc.ptrace(0, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(7)
os.waitpid(child, 0)
libc.ptrace(1, child, id(child), None)
print(ctypes.get_errno(), open(f"/proc/{child}/mem", "r+b", buffering=0).seek(id(child)) > 0)
libc.ptrace(7, child, None, None)
print(os.waitpid(child, 0)[1] >> 8, libc.personality(0x40000), libc.unshare(0x10000000))
"""


SPINNING = """
import time
wall = time.monotonic()
while time.monotonic() < wall + 2:
    pass
print(time.process_time() / (time.monotonic() - wall))
"""


async def test_a_relaxed_guest_lets_programs_trace_their_own_within_its_share_of_the_cpu(
    qemu: QemuHypervisor, vm_spec: VmSpec
) -> None:
    relaxed = profile_named("relaxed")
    slow = replace(relaxed, shares=replace(relaxed.shares, cpu_percent=10))
    async with await qemu.boot(replace(vm_spec, profile=slow)) as machine:
        assert machine.isolation.guest == GuestHardening(profile="relaxed", lsm="apparmor")
        await machine.reseed(os.urandom(64), time.time_ns())
        report = await run(machine, "python3", "-c", TRACING, cwd="/tmp")
        assert report.stdout == b"0 True\n7 0 -1\n", report
        report = await run(machine, "python3", "-c", SPINNING, cwd="/tmp")
        assert float(report.stdout) < 0.25, report


async def test_a_guest_whose_policy_cannot_be_loaded_is_no_machine(
    qemu: QemuHypervisor, vm_spec: VmSpec, tmp_path: Path
) -> None:
    place = tmp_path / "image"
    shutil.copytree(vm_spec.image.directory, place, copy_function=os.symlink)
    policy = place / "apparmor.policy"
    whole = policy.read_bytes()
    policy.unlink()
    policy.write_bytes(whole[: len(whole) // 2])
    image = GuestImage(directory=place, digest=vm_spec.image.digest)
    with pytest.raises(GuestError, match="the guest cannot be set up"):
        await qemu.boot(replace(vm_spec, image=image))


UNHELD = {
    "the policy has no profile luminaguard-other": replace(STRICT, name="other"),
    "commands would not be held: adjtimex gives 14": replace(
        STRICT, rules=replace(STRICT.rules, allowed=(*STRICT.rules.allowed, "adjtimex"))
    ),
}


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("reason", UNHELD)
async def test_a_guest_that_would_not_hold_its_commands_makes_no_template(
    qemu: QemuHypervisor, vm_spec: VmSpec, vm_directories: tuple[Path, Path], reason: str
) -> None:
    templates = vm_directories[0] / "templates"
    before = sorted(path.name for path in templates.glob("*"))
    with pytest.raises(GuestError, match=reason):
        await qemu.template(replace(vm_spec, profile=UNHELD[reason]))
    assert sorted(path.name for path in templates.glob("*")) == before
