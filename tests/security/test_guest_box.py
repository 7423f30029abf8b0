"""A hostile command tries to reach what lies outside its box inside the guest."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from guestcalls import WORKSPACE, Machines
from luminaguard.domain.execution import Ended, Execution, GuestReport
from luminaguard.vm.hypervisor import GuestMount, MicroVM

pytestmark = [pytest.mark.vm, pytest.mark.anyio]


@pytest.fixture
async def machine(machines: Machines, tmp_path: Path) -> AsyncGenerator[MicroVM]:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("x")
    async with machines(tree) as clone:
        await clone.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        yield clone


async def attempt(machine: MicroVM, code: str) -> GuestReport:
    """Run Python in the box; what it prints is what it achieved."""
    report = await machine.execute(
        Execution(argv=("python3", "-c", code), cwd=WORKSPACE, timeout_s=60)
    )
    assert report.ended is Ended.EXITED, report
    assert report.exit_code == 0, report.stderr.decode()
    return report


async def test_the_agents_port_the_disks_and_the_kernels_memory_are_out_of_reach(
    machine: MicroVM,
) -> None:
    code = """
import os, stat
found = []
for top, folders, files in os.walk("/", followlinks=False):
    if top.startswith(("/usr", "/etc")):
        folders.clear()
        continue
    for name in files:
        path = os.path.join(top, name)
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            continue
        if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
            found.append(path)
print(sorted(found))
print(*map(os.path.exists, ("/sys/class", "/sys/fs/cgroup", "/run/luminaguard")))
"""
    lines = (await attempt(machine, code)).stdout.decode().splitlines()
    allowed = ["full", "null", "ptmx", "random", "tty", "urandom", "zero"]
    found = [name.rpartition("/")[2] for name in eval(lines[0])]
    assert set(found) <= set(allowed), lines[0]
    assert lines[1] == "False False False"


async def test_devices_cannot_be_made_or_opened_by_number(machine: MicroVM) -> None:
    code = """
import os, stat
for major, minor, name in ((254, 0, "vda"), (1, 1, "mem"), (1, 11, "kmsg"), (243, 1, "vport")):
    for place in ("/tmp", "/dev/shm", "."):
        try:
            os.mknod(f"{place}/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
            print("made", place, name)
        except PermissionError:
            pass
"""
    assert (await attempt(machine, code)).stdout == b""


async def test_other_processes_are_neither_seen_nor_signalled_nor_traced(machine: MicroVM) -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
me = {os.getpid()}
for pid in range(1, 200):
    if pid in me:
        continue
    if os.path.exists(f"/proc/{pid}"):
        print("sees", pid)
    try:
        os.kill(pid, 9)
        print("signalled", pid)
    except OSError:
        pass
    if libc.ptrace(16, pid, 0, 0) == 0:
        print("traces", pid)
for name in ("environ", "mem", "root", "fd", "maps"):
    try:
        os.listdir("/proc/1/fd") if name == "fd" else open(f"/proc/1/{name}", "rb").read(1)
        print("reads", name)
    except OSError:
        pass
"""
    assert (await attempt(machine, code)).stdout == b""


async def test_no_privilege_is_held_or_gained(machine: MicroVM) -> None:
    code = """
import ctypes, os, shutil, subprocess
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
held = {status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
print(held, status["NoNewPrivs"].strip())
print(os.getresuid(), os.getresgid(), os.getgroups())
for name, call in {
    "mount": lambda: libc.mount(b"x", b"/tmp", b"tmpfs", 0, None),
    "unshare user": lambda: libc.unshare(0x10000000),
    "unshare net": lambda: libc.unshare(0x40000000),
    "chroot": lambda: libc.chroot(b"/tmp"),
    "sethostname": lambda: libc.sethostname(b"x", 1),
    "setuid": lambda: libc.setuid(0),
    "bpf": lambda: libc.syscall(321, 0, bytes(128), 128),
    "reboot": lambda: libc.reboot(0x01234567),
    "trusted xattr": lambda: libc.setxattr(b"a.txt", b"trusted.overlay.opaque", b"y", 1, 0),
    "clock": lambda: libc.clock_settime(0, bytes(16)),
}.items():
    if call() >= 0:
        print("could", name)
shutil.copy("/usr/bin/id", "/tmp/id")
os.chmod("/tmp/id", 0o6755)
print(subprocess.run(["/tmp/id", "-u"], capture_output=True, text=True).stdout.strip())
"""
    lines = (await attempt(machine, code)).stdout.decode().splitlines()
    assert lines == [
        "{'0000000000000000'} 1",
        "(1000, 1000, 1000) (1000, 1000, 1000) []",
        "1000",
    ]


async def test_the_system_is_read_only_and_only_the_scratch_disk_takes_files(
    machine: MicroVM,
) -> None:
    code = """
import os
for place in "/ /usr /usr/bin /etc /dev /run /root /var /home /mnt /srv /work /proc".split():
    try:
        open(f"{place}/planted", "w").close()
        print("wrote", place)
    except OSError:
        pass
for place in ("/home/guest", "/tmp", "/var/tmp", "."):
    open(f"{place}/mine", "w").close()
print(sorted({os.stat(place).st_dev for place in ("/home/guest", "/tmp", "/var/tmp")}).__len__())
"""
    assert (await attempt(machine, code)).stdout.decode().split() == ["1"]


async def test_there_is_no_network_but_loopback(machine: MicroVM) -> None:
    code = """
import socket
print([name for _, name in socket.if_nameindex()])
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
print("loopback works")
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
    print("reached the network")
except OSError:
    pass
"""
    lines = (await attempt(machine, code)).stdout.decode().splitlines()
    assert lines == ["['lo']", "loopback works"]


async def test_a_hostile_command_cannot_spoil_the_next_commands_start(machine: MicroVM) -> None:
    code = """
import os
os.makedirs("/home/guest/bin", exist_ok=True)
for name in ("sh", "true", "python3"):
    with open(f"/home/guest/bin/{name}", "w") as file:
        file.write("#!/bin/false")
with open("sitecustomize.py", "w") as file:
    file.write("raise SystemExit(66)")
with open("json.py", "w") as file:
    file.write("raise SystemExit(67)")
"""
    await attempt(machine, code)
    report = await machine.execute(Execution(argv=("true",), cwd=WORKSPACE))
    assert report.exit_code == 0
    report = await machine.execute(Execution(python="import json; print(json.dumps(1))", cwd="/"))
    assert report.stdout == b"1\n"
