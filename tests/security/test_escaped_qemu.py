"""What a guest that took over its QEMU would find: attacks tried from where it would stand."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from jailed import LIMITS, inside, perl
from luminaguard.errors import GuestLost, HypervisorUnavailable, VmError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.backends.qemu.machine import QemuMachine
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.lifecycle import VmState

pytestmark = [pytest.mark.anyio, pytest.mark.vm]

UID_LOCK = re.compile(r"/luminaguard/uids/\d+$|/luminaguard-uids-\d+/\d+$")
"""What keeps the machine's uid its own; open read-only."""
INSIDE = {"dev", "firmware", "lib", "lib64", "proc", "usr"}


@pytest.fixture
async def machine(qemu: QemuHypervisor, qemu_template: Template) -> AsyncGenerator[QemuMachine]:
    async with await qemu.restore(qemu_template) as clone:
        yield clone


@pytest.mark.guarantee("G8")
async def test_it_finds_no_file_of_the_host(tmp_path: Path) -> None:
    said = await inside(
        "ls /; ls /home /root /etc /tmp /run /work /var; ls -d /proc/1/cwd/*", tmp_path
    )
    listed = {line for line in said.splitlines() if not line.startswith(("ls:", "/usr/bin/ls:"))}
    assert {"firmware", "proc"} <= listed
    assert {name.rpartition("/")[2] for name in listed} <= INSIDE


async def test_it_can_write_nowhere(tmp_path: Path) -> None:
    places = (
        "/new",
        "/firmware/bios-256k.bin",
        "/dev/new",
        "/lib/new",
        "/proc/sys/kernel/hostname",
    )
    attempts = "; ".join(f"(echo x >{place}) && echo WROTE {place}" for place in places)
    said = await inside(attempts, tmp_path)
    assert "WROTE" not in said
    assert said.count("cannot create") == len(places)


async def test_it_sees_no_process_of_the_host_and_cannot_signal_one(tmp_path: Path) -> None:
    said = await inside(
        f"kill -9 {os.getpid()} && echo KILLED; kill -0 {os.getpid()} && echo SEEN; "
        "for one in /proc/[0-9]*; do echo $one; done",
        tmp_path,
    )
    assert "KILLED" not in said
    assert "SEEN" not in said
    assert len([line for line in said.splitlines() if line.startswith("/proc/")]) <= 3


async def test_it_has_no_network(tmp_path: Path) -> None:
    said = await inside("cat /proc/net/dev /proc/net/unix", tmp_path)
    interfaces = {line.partition(":")[0].strip() for line in said.splitlines() if ":" in line}
    assert interfaces - {"lo", "Num"} == set()
    assert "@" not in said  # no abstract socket of the host either


async def test_it_holds_no_capability_and_is_nobody_in_particular(tmp_path: Path) -> None:
    said = await inside("cat /proc/self/status; id", tmp_path)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert f"{name}:\t{'0' * 16}" in said
    assert "NoNewPrivs:\t1" in said
    assert "uid=0" not in said


async def test_it_knows_nothing_of_the_hosts_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "s3cret-value")
    said = await inside("cat /proc/self/environ /proc/1/environ", tmp_path)
    assert "s3cret-value" not in said
    assert "HOME=" not in said


async def test_it_cannot_write_more_than_its_largest_file(tmp_path: Path) -> None:
    file = os.memfd_create("disk")
    said = await inside(
        f"trap '' XFSZ; exec 3>>/proc/self/fd/{file}; "
        f"while echo {'x' * 4000} >&3; do :; done; echo stopped",
        tmp_path,
        inherit=(file,),
    )
    assert said.endswith("stopped")
    assert 0 < os.fstat(file).st_size <= LIMITS.file_bytes
    os.close(file)


def look_into(machine: QemuMachine, script: str) -> dict[str, str]:
    """Run Python with every right over this QEMU, as `fds`: its descriptors; return what it says.

    Another user's process is out of reach even for the user who made its user namespace, unless
    it is entered.
    """
    command = [sys.executable, "-c", f"{LOOK}{script}", str(machine.pid)]
    if os.stat(f"/proc/{machine.pid}").st_uid != os.geteuid() != 0:
        space = f"--user=/proc/{machine.pid}/ns/user"
        command = ["nsenter", "--preserve-credentials", space, "--", *command]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    return dict(line.split("\t", 1) for line in ran.stdout.splitlines())


LOOK = """
import os, sys
place = f"/proc/{sys.argv[1]}/fd"
fds = {f"{place}/{fd}": os.readlink(f"{place}/{fd}") for fd in os.listdir(place)}
"""
NAMES = "for name in fds.values(): print(name, name, sep='\\t')"
FLAGS = """
for path, name in fds.items():
    with open(path.replace("/fd/", "/fdinfo/")) as facts:
        flags = next(line for line in facts if line.startswith("flags:")).split()[1]
    print(os.path.basename(name), int(flags, 8) & os.O_ACCMODE, sep="\\t")
"""
WRITE = """
def attempt(what, act):
    try:
        act()
    except OSError as refused:
        print(what, refused.errno, sep="\\t")
    else:
        print(what, 0, sep="\\t")
for path, name in fds.items():
    if "memfd:luminaguard-template" in name:
        memory = os.open(path, os.O_RDWR)
        attempt(f"write {path}", lambda: os.pwrite(memory, b"evil", 0))
        attempt(f"cut {path}", lambda: os.ftruncate(memory, 0))
"""


@pytest.mark.guarantee("G6")
async def test_no_clone_can_change_what_later_clones_start_from(machine: QemuMachine) -> None:
    met = look_into(machine, WRITE)
    assert met
    assert set(met.values()) == {str(errno.EPERM)}


@pytest.mark.guarantee("G8")
async def test_qemu_cannot_start_a_program(machine: QemuMachine) -> None:
    qmp = machine._launched.qmp

    async def start_a_program() -> None:
        await qmp.execute("migrate", uri="exec:/usr/bin/qemu-system-x86_64 --version")
        await qmp.execute("query-status")

    with pytest.raises(VmError) as stopped:
        await start_a_program()
    if isinstance(stopped.value, GuestLost):  # the filter killed it, as QEMU 7.2 has it
        with anyio.fail_after(10):
            while machine.state is not VmState.STOPPED:  # noqa: ASYNC110 - the kernel ends it
                await anyio.sleep(0.01)
    else:  # the filter refused the call, as QEMU 10 has it
        assert "Failed to fork (Operation not permitted)" in str(stopped.value)


async def test_the_root_disk_and_the_workspace_image_are_open_read_only(
    machine: QemuMachine, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(4096))
    scratch = os.memfd_create("scratch")
    os.ftruncate(scratch, 4096)
    writable = os.open(image, os.O_RDWR)
    await machine.attach(workspace_fd=writable, scratch_fd=scratch)
    os.close(writable)
    os.close(scratch)
    flags = look_into(machine, FLAGS)
    assert {flags["rootfs"], flags["image"]} == {str(os.O_RDONLY)}


async def test_qemu_inherits_nothing_that_it_was_not_given(
    qemu: QemuHypervisor, qemu_template: Template, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    secret = os.open(tmp_path / "secret", os.O_RDONLY)
    os.set_inheritable(secret, True)
    async with await qemu.restore(qemu_template) as clone:
        held = look_into(clone, NAMES)
        names = {name for name in held if name.startswith("/") and "memfd:" not in name}
        allowed = {"/dev/null", str(qemu_template.spec.image.rootfs)}
        assert not any(name.startswith(("user:", "mnt:")) for name in held)  # no way back out
        assert {name for name in names - allowed if not UID_LOCK.search(name)} == set()
    os.close(secret)


NEIGHBOR = r"""
sub met { print "$_[0]\t", ($_[1] ? 0 : $! + 0), "\n" }
my ($pid, $own) = @ARGV;
met("open memory", open(my $m, "+<", "/proc/$pid/mem"));
met("open template", opendir(my $d, "/proc/$pid/fd") && open(my $t, "<", "/proc/$pid/fd/3"));
met("trace", syscall(101, 16, $pid + 0, 0, 0) == 0);
my $here = "x" x 8;
my $ours = pack("QQ", unpack("Q", pack("P", $here)), 8);
my $theirs = pack("QQ", 4096, 8);
met("read memory", syscall(310, $pid + 0, $ours, 1, $theirs, 1, 0) >= 0);
met("see maps", open(my $s, "<", "/proc/$pid/maps") && defined(readline($s)));
met("signal", kill(0, $pid)) if $own;
"""


def beside(machine: QemuMachine) -> list[str]:
    """Return the prefix of a command that runs as a machine next to this one does.

    It has another machine's user, where that is one of its own, and no capability. What it has not
    are the other namespaces: they would hide this machine, so nothing else could be seen to hold.
    """
    drop = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"]
    uid = os.stat(f"/proc/{machine.pid}").st_uid
    if uid == os.geteuid():
        return ["unshare", "--user", "--map-current-user", "--", *drop, "--"]
    drop += ["--bounding-set=-all", "--clear-groups"]
    if os.geteuid() == 0:
        return [*drop, "--reuid", str(uid + 1), "--regid", str(uid + 1), "--"]
    enter = ["nsenter", "--preserve-credentials", f"--user=/proc/{machine.pid}/ns/user", "--"]
    return [*enter, *drop, "--reuid", "4000", "--regid", "4000", "--"]


@pytest.mark.guarantee("G8")
async def test_no_machine_can_touch_another_even_if_it_saw_it(machine: QemuMachine) -> None:
    own = "distinct-uid" in machine.isolation.jail.layers
    command = [*beside(machine), perl(), "-e", NEIGHBOR, str(machine.pid), "own" if own else ""]
    with anyio.fail_after(20):
        ran = await anyio.run_process(command, cwd="/")
    met = dict(line.split("\t") for line in ran.stdout.decode().splitlines())
    assert {"open memory", "trace", "read memory"} <= met.keys()
    assert set(met.values()) <= {str(errno.EPERM), str(errno.EACCES)}, met
    # Without a user of its own, only the pid namespace keeps another machine's signals away.
    assert ("signal" in met) == own


async def test_two_machines_never_run_as_the_same_user(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as one, await qemu.restore(qemu_template) as two:
        lacking = one.isolation.jail.missing.get("distinct-uid")
        if lacking is not None:
            assert os.geteuid() != 0
            pytest.skip(lacking)
        uids = {os.stat(f"/proc/{pid}").st_uid for pid in (one.pid, two.pid)}
        assert len(uids) == 2
        assert not uids & {0, os.geteuid()}
        assert all("distinct-uid" in machine.isolation.jail.layers for machine in (one, two))


@pytest.mark.guarantee("G8")
async def test_a_machine_names_its_layers_as_the_kernel_shows_them(machine: QemuMachine) -> None:
    jail = machine.isolation.jail
    for kind, layer in (("mnt", "mount"), ("pid", "pid"), ("net", "net"), ("ipc", "ipc")):
        theirs = os.readlink(f"/proc/{machine.pid}/ns/{kind}")
        assert (theirs != os.readlink(f"/proc/self/ns/{kind}")) == (
            f"{layer}-namespace" in jail.layers
        )
    assert "seccomp" in jail.layers
    assert ("cgroup-limits" in jail.layers) != ("cgroup-limits" in jail.missing)


@pytest.mark.guarantee("G8")
async def test_a_jail_below_the_minimum_is_refused_unless_waived(
    guest_image: GuestImage,
    qemu_template: Template,
    vm_directories: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    open_to_all = tmp_path / "run"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    strict = QemuHypervisor(vm_directories[0], open_to_all, image=guest_image)
    with pytest.raises(HypervisorUnavailable, match="private-runtime-directory"):
        await strict.restore(qemu_template)
    strict.close()
    waived = QemuHypervisor(
        vm_directories[0],
        open_to_all,
        image=guest_image,
        allow_missing=frozenset({"private-runtime-directory"}),
    )
    async with await waived.restore(qemu_template) as clone:
        assert "private-runtime-directory" in clone.isolation.jail.missing
    waived.close()
