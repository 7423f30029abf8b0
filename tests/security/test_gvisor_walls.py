"""What stands between a command in gVisor and the host, tried from inside.

The attacks of the doctor's catalogue, told of QEMU's guests, are tried as well: `ELSEWISE` names
those that end otherwise here, and why that is no way out. Each attack below went through when its
control was taken away by hand: docs/reference/backends/gvisor.md lists what was seen.
"""

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import anyio
import pytest

from luminaguard.doctor.attack import GuestScript, Result, Verdict, Where
from luminaguard.doctor.ground import WORKSPACE as CATALOGUE_WORKSPACE
from luminaguard.doctor.ground import Ground, Machine
from luminaguard.doctor.inside import try_inside
from luminaguard.doctor.registry import ATTACKS
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.errors import GuestError, GuestLost
from luminaguard.vm.backends.gvisor.backend import GvisorHypervisor
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.cgroups.machine import Cgroups
from luminaguard.vm.confinement.jail import counts_apart
from luminaguard.vm.hardening import STRICT
from luminaguard.vm.hypervisor import MicroVM
from luminaguard.vm.linux import user_id
from luminaguard.vm.spec import VmSpec
from rooted import WORKSPACE, furnished, small_disks

pytestmark = [
    pytest.mark.vm,
    pytest.mark.anyio,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("runsc") is None,
        reason="gVisor's runsc is not installed: apt-get install runsc",
    ),
]

TOGETHER = [
    attack
    for attack in ATTACKS
    if attack.where is Where.INSIDE
    and isinstance(attack.script, GuestScript)
    and not attack.script.alone
]
ELSEWISE = {
    "regain-capabilities": "its /proc/PID/status has no CapAmb; the other sets are empty",
    "run-a-set-user-id-program": "its /proc/PID/status does not tell of no_new_privs, which is set",
    "give-a-program-capabilities": "it has no such attributes at all: ENOTSUP",
    "take-all-the-processor": "a priority is a number that it keeps; the host's is not changed",
    "type-into-a-terminal": "there is no terminal to try it on",
    "leave-the-security-profile": "it has neither AppArmor nor SELinux: lsm none, on every card",
    "change-itself-through-proc": "oom_score_adj is a number that it keeps and nobody reads",
    "read-other-processes-memory": "the box's own process is seen; its memory is not to be read",
    "lift-the-limits": "it has no control groups inside; the host's are not seen",
    "find-somewhere-else-to-write": "it does not tell which mounts are read-only; they are",
    "connect-out": "no way leads out, which it calls EHOSTUNREACH",
    "send-datagrams-out": "no way leads out, which it calls EHOSTUNREACH",
}
"""Attack → why it cannot be judged as in a guest of QEMU's, and what holds."""


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with small_disks(tmp_path_factory.mktemp("gvisor-walls"), scratch_mib=32) as made:
        yield made


@pytest.fixture(scope="module")
async def machine(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, disks: tuple[int, int]
) -> AsyncIterator[MicroVM]:
    """One for all attacks that are to leave it as it was."""
    async with furnished(gvisor, vm_spec, disks) as made:
        yield made


async def attack(machine: MicroVM, code: str, limit_s: float = 60.0) -> GuestReport:
    """Run a program of the attacker's, which prints what it got."""
    return await machine.execute(
        Execution(argv=("python3", "-I", "-c", code), cwd=WORKSPACE, timeout_s=limit_s)
    )


class OneGround:
    """What the doctor's scripts need of a ground: machines with a workspace."""

    def __init__(self, gvisor: GvisorHypervisor, spec: VmSpec, disks: tuple[int, int]) -> None:
        self._parts = (gvisor, spec, disks)

    @asynccontextmanager
    async def machine(self) -> AsyncGenerator[Machine]:
        _, _, disks = self._parts
        async with furnished(*self._parts, at=CATALOGUE_WORKSPACE) as made:
            yield Machine(vm=made, scratch_fd=disks[1], image_fd=disks[0])  # pyright: ignore[reportArgumentType] - any machine will do


async def test_the_doctors_attacks_are_held_but_for_those_with_a_reason(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, disks: tuple[int, int]
) -> None:
    ground = cast("Ground", OneGround(gvisor, vm_spec, disks))
    results: dict[str, Result] = await try_inside(ground, TOGETHER, lambda _what, _share: None)
    assert results.keys() == {one.name for one in TOGETHER}
    not_held = {
        name: result.finding.reason
        for name, result in results.items()
        if result.finding.verdict is not Verdict.ENFORCED
    }
    assert not_held.keys() == ELSEWISE.keys(), not_held
    assert len(results) - len(not_held) > 50


async def test_what_the_doctor_cannot_judge_here_holds_by_other_signs(machine: MicroVM) -> None:
    code = """
import ctypes, errno, os
print("no_new_privs", ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print("capabilities", {status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")})
try:
    open("/proc/1/mem", "rb").read(1)
    print("box read")
except OSError as error:
    print("box", errno.errorcode[error.errno])
for place in ("/usr/made", "/etc/made", "/opt/made", "/made", "/bin/sh", "/dev/made", "/proc/made"):
    try:
        open(place, "ab").close()
        print("written", place)
    except OSError:
        pass
"""
    report = await attack(machine, code)
    said = report.stdout.decode().splitlines()
    if user_id() != 0:
        # The box's root, 1 MiB of its memory, belongs to what commands run as: uid 0 of no rights.
        said = [line for line in said if line not in {"written /made", "written /dev/made"}]
    assert said == [
        "no_new_privs 1",
        "capabilities {'" + "0" * 16 + "'}",
        "box EACCES",
    ], report


async def test_a_command_that_ends_its_box_loses_its_machine_and_nothing_else(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, disks: tuple[int, int], machine: MicroVM
) -> None:
    """An ordinary user's commands are the box's own user: gVisor lets them signal it."""
    async with furnished(gvisor, vm_spec, disks) as attacked:
        try:
            report = await attack(attacked, "import os; os.kill(1, 9)")
            assert b"PermissionError" in report.stderr
        except GuestError:
            assert user_id() != 0
    assert (await attack(machine, "print(1)")).stdout == b"1\n"


async def test_no_file_of_the_host_is_seen(machine: MicroVM) -> None:
    secret = secrets.token_hex(16)
    with tempfile.NamedTemporaryFile(prefix="luminaguard-secret-", dir="/var/tmp") as file:
        file.write(secret.encode())
        file.flush()
        os.chmod(file.name, 0o644)
        code = f"""
import os
for top in ("", "/proc/1/root", "/mnt", "/proc/1/cwd", "/run", "/var", "/mnt/lower/../.."):
    for path in ({file.name!r}, "/agent/luminaguard_guest/agent.py", "/profile.json"):
        try:
            print("seen", top + path, open(top + path).read()[:40])
        except OSError:
            pass
print(sorted(os.listdir("/mnt")), sorted(os.listdir("/run")), sorted(os.listdir("/root")))
"""
        report = await attack(machine, code)
    assert report.stdout.decode() == "[] [] []\n", report


async def test_no_socket_of_the_host_is_reached(machine: MicroVM) -> None:
    name = f"luminaguard-{secrets.token_hex(8)}"
    with socket.create_server(("", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        port = tcp.getsockname()[1]
        code = f"""
import socket
for place in ("127.0.0.1", "0.0.0.0", "192.0.2.1", {own_address()!r}):
    try:
        socket.create_connection((place, {port}), timeout=2)
        print("reached", place)
    except OSError:
        pass
try:
    socket.socket(socket.AF_UNIX).connect("\\0{name}")
    print("reached the host's abstract socket")
except OSError:
    pass
print([line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]])
"""
        report = await attack(machine, code)
        tcp.settimeout(0)
        with pytest.raises(BlockingIOError):
            tcp.accept()
    assert report.stdout in {b"['lo']\n", b"[]\n"}, report


def own_address() -> str:
    """Return an address of this host, as its other programs would be reached at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


async def test_no_process_of_the_host_is_seen_or_signaled(machine: MicroVM) -> None:
    code = f"""
import os
mine = os.getpid()
others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != mine]
print("others", [open(f"/proc/{{pid}}/cmdline").read() for pid in others if pid != 1])
for pid in ({os.getpid()}, {machine.pid}):
    if pid != mine:
        try:
            os.kill(pid, 0)
            print("signaled", pid)
        except OSError:
            pass
try:
    os.kill(-1, 0)
    print("all signaled")
except OSError:
    pass
"""
    report = await attack(machine, code)
    assert report.stdout == b"others []\n", report
    assert (await attack(machine, "print(1)")).stdout == b"1\n"


async def test_threads_end_at_the_profiles_limit_and_leave_nothing(machine: MicroVM) -> None:
    code = """
import os, threading
threading.stack_size(32768)
forever = threading.Event()
made = 0
try:
    while made < 5000:
        threading.Thread(target=forever.wait, daemon=True).start()
        made += 1
except RuntimeError:
    pass
print(made, flush=True)
os._exit(0)
"""
    limit = STRICT.limits.processes
    assert limit - 50 < int((await attack(machine, code)).stdout) <= limit
    assert (await attack(machine, "print(1)")).stdout == b"1\n"


async def test_an_ordinary_users_sandbox_is_counted_by_itself(machine: MicroVM) -> None:
    jail = machine.isolation.jail
    assert "process-limit" not in jail.missing
    assert ("process-limit" in jail.layers) == (user_id() != 0 and counts_apart())


async def test_a_bomb_of_processes_costs_the_machine_at_most(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, disks: tuple[int, int]
) -> None:
    code = """
import os, time
made = 0
try:
    while made < 5000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except OSError:
    pass
print(made, flush=True)
"""
    async with furnished(gvisor, vm_spec, disks) as machine:
        sentry = machine.pid
        with suppress(GuestLost):  # its memory ended before the number of its processes
            assert int((await attack(machine, code)).stdout) <= STRICT.limits.processes
            assert (await attack(machine, "print(1)")).stdout == b"1\n"
    with pytest.raises(ProcessLookupError):
        os.kill(sentry, 0)


async def can_limit() -> bool:
    """Whether this host lets this user make control groups; whatever the machine has."""
    limits = CgroupLimits(memory_bytes=1024**3, processes=100, cpus=1.0, weight=100)
    tried = Cgroups(f"luminaguard-{secrets.token_hex(8)}").make(limits)
    try:
        return bool(tried.joins)
    finally:
        await tried.remove()


async def test_memory_ends_at_a_limit_of_the_hosts(
    gvisor: GvisorHypervisor, vm_spec: VmSpec, disks: tuple[int, int]
) -> None:
    code = """
import time
hoard = []
for _ in range(64):
    hoard.append(bytearray(b"x") * (64 * 1024 * 1024))
print("took", len(hoard) * 64, "MiB")
"""
    spec = VmSpec(image=vm_spec.image, memory_mib=128)
    async with furnished(gvisor, spec, disks) as machine:
        if not await can_limit():
            lacking = machine.isolation.jail.missing["cgroup-limits"]
            pytest.skip(f"nothing bounds a sandbox's memory here, and cards say so: {lacking}")
        with pytest.raises(GuestLost, match="more memory than it may"):
            await attack(machine, code)
    with anyio.fail_after(60):
        async with furnished(gvisor, spec, disks) as another:
            assert (await attack(another, "print(1)")).stdout == b"1\n"
