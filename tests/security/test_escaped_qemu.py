"""What a guest that took over its QEMU would find: attacks tried from where it would stand."""

import os
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from luminaguard.errors import GuestLost, HypervisorUnavailable, VmError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.backends.qemu.confinement.berth import Berths
from luminaguard.vm.backends.qemu.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.backends.qemu.confinement.jail import Confinement, Limits, tool
from luminaguard.vm.backends.qemu.confinement.jailroot import prepare_root
from luminaguard.vm.backends.qemu.confinement.process import VmmProcess
from luminaguard.vm.backends.qemu.confinement.uids import can_switch_users
from luminaguard.vm.backends.qemu.machine import QemuMachine
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.lifecycle import VmState

pytestmark = [pytest.mark.anyio, pytest.mark.vm]

LIMITS = Limits(address_space_bytes=1 << 30, file_bytes=1 << 20)
TAKEN = CgroupLimits(memory_bytes=64 << 20, processes=32, cpus=1.0, weight=50)
INSIDE = {"dev", "firmware", "lib", "lib64", "proc", "usr"}


@pytest.fixture
async def machine(qemu: QemuHypervisor, qemu_template: Template) -> AsyncGenerator[QemuMachine]:
    async with await qemu.restore(qemu_template) as clone:
        yield clone


SHELL = os.path.realpath("/bin/sh")


async def inside(script: str, cache: Path, *, inherit: tuple[int, ...] = ()) -> str:
    """Run a shell script exactly where QEMU would run; return what it says on stderr."""
    programs = (SHELL, tool("setpriv"), "/usr/bin/cat", "/usr/bin/ls", "/usr/bin/id")
    root = prepare_root(cache, programs)
    berths = Berths(f"luminaguard-{secrets.token_hex(16)}")
    berth = await berths.take(TAKEN)
    confinement = Confinement(root=root, limits=LIMITS, lease=berth.lease, joins=berth.cgroup.joins)
    # It waits to be told: a script that ended at once could not be taken hold of.
    waits, go = os.pipe()
    os.fchmod(waits, 0o444)
    script = f"read -r go </proc/self/fd/{waits}; exec >&2; {script}"
    try:
        # QEMU's own option that the jail appends is the script's $0 and $1.
        process = await VmmProcess.start(
            [SHELL, "-c", script], confinement, (waits, *inherit, *berth.inherited)
        )
    except BaseException:
        os.close(go)
        raise
    finally:
        os.close(waits)
    try:
        os.write(go, b"go\n")
        with anyio.fail_after(20):
            return await process.last_words()
    finally:
        os.close(go)
        await process.end()
        berth.disembark()
        await berth.cgroup.remove()
        berths.close()


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


@pytest.mark.guarantee("G6")
async def test_no_clone_can_change_what_later_clones_start_from(machine: QemuMachine) -> None:
    held = [
        f"/proc/{machine.pid}/fd/{fd}"
        for fd in os.listdir(f"/proc/{machine.pid}/fd")
        if "memfd:luminaguard-template" in os.readlink(f"/proc/{machine.pid}/fd/{fd}")
    ]
    assert held
    for path in held:
        memory = os.open(path, os.O_RDWR)
        with pytest.raises(PermissionError):
            os.pwrite(memory, b"evil", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(memory, 0)
        os.close(memory)


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
    seen: set[str] = set()
    for fd in os.listdir(f"/proc/{machine.pid}/fd"):
        target = os.readlink(f"/proc/{machine.pid}/fd/{fd}")
        if target.endswith(("/rootfs", "/image")):
            facts = await anyio.Path(f"/proc/{machine.pid}/fdinfo/{fd}").read_text()
            flags = next(line for line in facts.splitlines() if line.startswith("flags:"))
            assert int(flags.split()[1], 8) & os.O_ACCMODE == os.O_RDONLY
            seen.add(target.rpartition("/")[2])
    assert seen == {"rootfs", "image"}


async def test_qemu_inherits_nothing_that_it_was_not_given(
    qemu: QemuHypervisor, qemu_template: Template, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    secret = os.open(tmp_path / "secret", os.O_RDONLY)
    os.set_inheritable(secret, True)
    async with await qemu.restore(qemu_template) as clone:
        held = {
            os.readlink(f"/proc/{clone.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{clone.pid}/fd")
        }
        names = {name for name in held if name.startswith("/") and "memfd:" not in name}
        allowed = {"/dev/null", str(qemu_template.spec.image.rootfs)}
        assert {n for n in names - allowed if not n.startswith("/run/luminaguard/uids/")} == set()
    os.close(secret)


@pytest.mark.root
@pytest.mark.skipif(not can_switch_users(), reason="uids of their own need root")
async def test_two_machines_never_run_as_the_same_user(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as one, await qemu.restore(qemu_template) as two:
        uids = {os.stat(f"/proc/{pid}").st_uid for pid in (one.pid, two.pid)}
        assert len(uids) == 2
        assert 0 not in uids
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
