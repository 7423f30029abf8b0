"""What QEMU is given on each system and processor, without running it."""

import ctypes
import shutil
import socket
import struct
import sys
from pathlib import Path

import anyio
import pytest

from luminaguard.domain.isolation import Tier
from luminaguard.errors import GuestLost, HypervisorUnavailable, VmError
from luminaguard.vm.architecture import AARCH64, X86_64, Architecture, architecture_of
from luminaguard.vm.backends.qemu import command as linux
from luminaguard.vm.backends.qemu.accelerator import TCG, by_name, candidates_for
from luminaguard.vm.backends.qemu.portable import job, transport
from luminaguard.vm.backends.qemu.portable.command import Wiring, boot_command
from luminaguard.vm.backends.qemu.portable.jail import portable_jail
from luminaguard.vm.backends.qemu.portable.peers import owner_in_table, windows_owner
from luminaguard.vm.backends.qemu.portable.places import find_portable_qemu, places, program
from luminaguard.vm.backends.qemu.portable.transport import InheritedLine, LoopbackLine, make_line
from luminaguard.vm.confinement.readback import MINIMUM, require_minimum

WIRING = Wiring(
    control="fd=5", agent="fd=6", kernel=Path("/k"), initrd=Path("/i"), root=Path("/r,1")
)


def shape(architecture: Architecture = X86_64, accelerator: str = "tcg") -> linux.Shape:
    known = {one.name: one for one in candidates_for("darwin", architecture)}
    known |= {one.name: one for one in candidates_for("win32", X86_64)}
    return linux.Shape(
        binary="/qemu",
        accelerator=known[accelerator],
        memory_mib=256,
        vcpus=1,
        disk_limit_bytes=1 << 30,
        architecture=architecture,
    )


def value(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


@pytest.mark.parametrize(
    ("platform", "architecture", "names"),
    [
        ("linux", X86_64, ["kvm", "tcg"]),
        ("linux", AARCH64, ["kvm", "tcg"]),
        ("darwin", AARCH64, ["hvf", "tcg"]),
        ("darwin", X86_64, ["hvf", "tcg"]),
        ("win32", X86_64, ["whpx", "tcg"]),
        ("win32", AARCH64, ["tcg"]),
        ("freebsd14", X86_64, ["tcg"]),
    ],
)
def test_each_system_tries_its_own_accelerator_first(
    platform: str, architecture: Architecture, names: list[str]
) -> None:
    candidates = candidates_for(platform, architecture)
    assert [one.name for one in candidates] == names
    assert [one.tier for one in candidates[:-1]] == [Tier.HARDWARE] * (len(names) - 1)
    assert candidates[-1] is TCG
    if platform == sys.platform:
        assert all(by_name(one.name) is one for one in candidates)


@pytest.mark.parametrize(
    ("machine", "found"),
    [("x86_64", X86_64), ("AMD64", X86_64), ("aarch64", AARCH64), ("arm64", AARCH64)],
)
def test_a_processor_is_known_by_every_name_that_systems_give_it(
    machine: str, found: Architecture
) -> None:
    assert architecture_of(machine) is found


def test_a_processor_without_guests_is_refused_by_name() -> None:
    with pytest.raises(HypervisorUnavailable, match="riscv64"):
        architecture_of("riscv64")


def test_an_arm64_host_gets_its_own_board_console_and_processor() -> None:
    fds = linux.Wiring(control=5, agent=6, memory=7, root=8, kernel=9, initrd=10, console=11)
    words = linux.boot_command(shape(AARCH64), fds)
    assert value(words, "-machine").startswith("virt,memory-backend=ram,")
    assert value(words, "-cpu") == "max,pauth-impdef=on"
    assert value(words, "-serial") == "chardev:console"
    assert "console=ttyAMA0" in value(words, "-append").split()
    assert not {"isa-serial,chardev=console", "no_timer_check"} & {
        *words,
        *value(words, "-append").split(),
    }
    assert AARCH64.binary == "qemu-system-aarch64"
    assert AARCH64.firmware == ()


def test_the_kernel_line_of_x86_hosts_stays_what_it_was() -> None:
    line = linux.kernel_line(shape()).split()
    assert {"no_timer_check", "tsc=reliable", "8250.nr_uarts=0", "quiet"} <= set(line)


@pytest.mark.parametrize(
    ("accelerator", "option", "cpu"),
    [
        ("hvf", "hvf", "host"),
        ("whpx", "whpx,kernel-irqchip=off", "qemu64"),
        ("tcg", "tcg,tb-size=256", "max,-la57"),
    ],
)
def test_each_accelerator_gets_the_options_it_is_known_to_need(
    accelerator: str, option: str, cpu: str
) -> None:
    words = boot_command(shape(accelerator=accelerator), WIRING)
    assert (value(words, "-accel"), value(words, "-cpu")) == (option, cpu)


def test_outside_linux_nothing_of_linux_is_asked_for() -> None:
    words = boot_command(shape(), WIRING)
    told = " ".join(words)
    for absent in ("-sandbox", "/proc/", "/dev/fdset", "memory-backend-file", "-add-fd"):
        assert absent not in told
    assert value(words, "-object").startswith("memory-backend-ram,")


def test_outside_linux_a_machine_has_the_same_devices_and_no_network() -> None:
    words = boot_command(shape(), WIRING)
    fds = linux.Wiring(control=5, agent=6, memory=7, root=8, kernel=9, initrd=10)
    devices = [words[n + 1] for n, word in enumerate(words) if word == "-device"]
    same = linux.boot_command(shape(), fds)
    assert devices == [same[n + 1] for n, word in enumerate(same) if word == "-device"]
    assert "-nodefaults" in words
    assert value(words, "-display") == "none"


def test_a_comma_in_a_path_adds_no_option() -> None:
    root = next(word for word in boot_command(shape(), WIRING) if "root-file" in word)
    assert "filename=/r,,1,read-only=on" in root


@pytest.mark.parametrize(
    ("platform", "environ", "paths"),
    [
        ("darwin", {}, ["/opt/homebrew/bin/qemu-system-aarch64"]),
        ("darwin", {}, ["/usr/local/bin/qemu-system-aarch64"]),
        (
            "win32",
            {"ProgramFiles": r"C:\Program Files", "ProgramW6432": r"C:\Program Files"},
            [r"C:\Program Files\qemu\qemu-system-aarch64.exe"],
        ),
        ("linux", {}, []),
    ],
)
def test_qemu_is_looked_for_where_each_system_installs_it(
    platform: str, environ: dict[str, str], paths: list[str]
) -> None:
    found = [program(platform, place, AARCH64) for place in places(platform, environ)]
    assert set(paths) <= set(found)
    assert bool(found) == bool(paths)


@pytest.mark.parametrize(
    ("platform", "install"),
    [("darwin", "brew install qemu"), ("win32", "winget"), ("linux", "apt-get install qemu")],
)
def test_a_missing_qemu_is_told_with_the_systems_own_installer(
    monkeypatch: pytest.MonkeyPatch, platform: str, install: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    missing = Architecture(
        name="none-such",
        board="",
        tcg_cpu="",
        console="",
        console_device=(),
        silent=(),
        emulated=(),
        firmware=(),
        package="qemu-none",
    )
    with pytest.raises(HypervisorUnavailable, match="none-such is missing") as refusal:
        find_portable_qemu(missing)
    assert install in str(refusal.value.hint)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
@pytest.mark.guarantee("G8")
def test_outside_linux_the_minimum_is_not_reached_and_every_layer_says_why(platform: str) -> None:
    jail = portable_jail(platform, runtime_private=True)
    assert (set(jail.layers) | jail.missing.keys()) >= MINIMUM
    assert all(jail.missing.values())
    with pytest.raises(HypervisorUnavailable, match="seccomp"):
        require_minimum(jail, allow_missing=frozenset(), clone=False)
    require_minimum(jail, allow_missing=frozenset(jail.missing), clone=False)


def test_only_windows_uses_the_network_stack() -> None:
    for platform, kind in (("win32", LoopbackLine), ("darwin", InheritedLine)):
        line = make_line(platform)
        assert isinstance(line, kind)
        line.close()


@pytest.mark.anyio
async def test_loopback_takes_the_process_that_it_waits_for() -> None:
    asked: list[object] = []

    def owner(local: tuple[str, int], remote: tuple[str, int]) -> int:
        asked.append((local, remote))
        return 4711

    line = LoopbackLine(owner)
    assert "server=off" in line.option
    port = int(line.option.partition("port=")[2].partition(",")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as qemu:
        with await line.connected(4711) as ours:
            ours.send(b"hello")
            assert qemu.recv(5) == b"hello"
        assert asked == [(qemu.getsockname(), qemu.getpeername())]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.anyio
async def test_loopback_refuses_whoever_came_before_qemu() -> None:
    line = LoopbackLine(lambda *_: 666)
    port = int(line.option.partition("port=")[2].partition(",")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as thief:
        with pytest.raises(HypervisorUnavailable, match="666"):
            await line.connected(4711)
        thief.settimeout(5)
        assert thief.recv(1) == b""


@pytest.mark.anyio
async def test_loopback_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_CONNECT_LIMIT_S", 0.05)
    line = LoopbackLine(lambda *_: 1)
    with anyio.fail_after(5), pytest.raises(GuestLost, match="in time"):
        await line.connected(1)
    line.close()


def row(local: tuple[str, int], remote: tuple[str, int], pid: int) -> bytes:
    """Return a MIB_TCPROW_OWNER_PID as Windows lays it out: everything little-endian but ports."""
    ends = b"".join(
        socket.inet_aton(host) + struct.pack(">H", port) + b"\xff\xff"
        for host, port in (local, remote)
    )
    return struct.pack("<I", 5) + ends + struct.pack("<I", pid)


def test_windows_table_of_connections_tells_the_owner_of_one_end() -> None:
    ours, theirs = ("127.0.0.1", 50123), ("127.0.0.1", 50999)
    rows = [row(ours, theirs, 1), row(theirs, ours, 2), row(("127.0.0.1", 1), theirs, 3)]
    table = struct.pack("<I", len(rows)) + b"".join(rows) + bytes(100)
    assert owner_in_table(table, theirs, ours) == 2
    assert owner_in_table(table, ours, theirs) == 1
    assert owner_in_table(table, ("127.0.0.2", 50999), ours) is None
    assert owner_in_table(struct.pack("<I", 9) + rows[0][:10], ours, theirs) is None


def test_a_windows_job_ends_with_its_owner_and_holds_one_process() -> None:
    assert ctypes.sizeof(job.BasicLimits) == 64
    assert ctypes.sizeof(job.ExtendedLimits) == 144
    wanted = job.limits(1 << 30)
    assert wanted.basic.flags & 0x2000
    assert wanted.basic.active_processes == 1
    assert wanted.job_memory == 1 << 30


@pytest.mark.skipif(sys.platform == "win32", reason="this is Windows")
def test_what_only_windows_has_says_so_elsewhere() -> None:
    with pytest.raises(VmError, match="only Windows"):
        job.Job(1, 1)
    with pytest.raises(VmError, match="only Windows"):
        windows_owner(("127.0.0.1", 1), ("127.0.0.1", 2))
