"""Machines come, go and crash: nothing of them may stay behind."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import anyio
import pytest

from luminaguard.domain.execution import Execution
from luminaguard.errors import BootTimeout, GuestLost
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.confinement.cgroups.machine import Cgroups
from luminaguard.vm.confinement.cgroups.places import find_places
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec

pytestmark = [pytest.mark.vm, pytest.mark.anyio]

HOLDER = Path(__file__).with_name("holder.py")
GONE_LIMIT_S = 10.0
READY_LIMIT_S = 90.0


class Holder:
    """Another process that holds machines."""

    def __init__(self, image: GuestImage, directories: tuple[Path, Path], job: str) -> None:
        where = [str(image.directory), image.digest, *map(str, directories), job]
        self.process = subprocess.Popen(
            [sys.executable, str(HOLDER), *where], stdout=subprocess.PIPE, text=True
        )

    def pids(self) -> list[int]:
        assert self.process.stdout is not None
        return [int(word) for word in self.process.stdout.readline().split()]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=READY_LIMIT_S)


@pytest.fixture
def directories(
    vm_directories: tuple[Path, Path], tmp_path: Path, qemu_template: Template
) -> tuple[Path, Path]:
    """A cache that holds the run's template already, and a runtime directory of its own."""
    cache = tmp_path / "cache"
    shutil.copytree(vm_directories[0], cache)
    return cache, tmp_path / "run"


@pytest.fixture
def empty(directories: tuple[Path, Path], qemu_template: Template) -> tuple[Path, Path]:
    """The same without any template."""
    shutil.rmtree(directories[0] / "templates")
    return directories


@pytest.fixture
def holder(guest_image: GuestImage, directories: tuple[Path, Path]) -> Generator[Holder]:
    one = Holder(guest_image, directories, "clone")
    yield one
    one.close()


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return source.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def commands() -> dict[int, list[bytes]]:
    """Return process id → command line, of every process but this one."""
    found: dict[int, list[bytes]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as source:
                    found[int(entry)] = source.read().split(b"\0")
            except OSError:
                continue
    return found


def confiners(cache: Path) -> list[int]:
    """Return the processes whose command line names this cache: those that confine machines."""
    where = str(cache).encode()
    return [
        pid
        for pid, words in commands().items()
        if words[0].endswith((b"bwrap", b"prlimit")) and any(where in word for word in words)
    ]


def marks_below(cache: Path) -> set[bytes]:
    """Return the marks of all owners whose machines run on this cache."""
    where = str(cache).encode()
    return {
        words[words.index(b"OWNER") + 1]
        for words in commands().values()
        if b"OWNER" in words and where in b" ".join(words)
    }


def machines_of(mark: bytes) -> list[int]:
    """Return every process that carries a mark on its command line."""
    return [pid for pid, words in commands().items() if mark in words]


def cgroups_of(mark: bytes) -> list[str]:
    """Return the cgroups of an owner's machines."""
    return sorted(
        str(place)
        for branch in find_places().branches
        for place in branch.parent.glob(f"{mark.decode()}-*")
    )


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
        return int(source.read().rpartition(")")[2].split()[1])


def wait_until_gone(pids: list[int]) -> None:
    limit = time.monotonic() + GONE_LIMIT_S
    while any(lives(pid) for pid in pids):
        assert time.monotonic() < limit, f"still there: {[pid for pid in pids if lives(pid)]}"
        time.sleep(0.02)


async def until(holds: Callable[[], bool], limit_s: float) -> None:
    with anyio.fail_after(limit_s):
        while not holds():  # noqa: ASYNC110 - another process brings it about
            await anyio.sleep(0.01)


def remains(directories: tuple[Path, Path]) -> list[str]:
    """Return what lies in cache and runtime directory beyond what is meant to stay."""
    cache, runtime = directories
    left = [
        str(path) for path in cache.rglob("*") if path.name.startswith((".building", ".scratch"))
    ]
    left += [str(path) for path in runtime.rglob("*")]
    return left + [name for name in os.listdir("/dev/shm") if "luminaguard" in name]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_machines_end_with_the_process_that_made_them(
    holder: Holder, directories: tuple[Path, Path], how: signal.Signals
) -> None:
    _, *machines = holder.pids()
    assert len(machines) == 2
    assert all(lives(pid) for pid in machines)
    monitors = confiners(directories[0])
    assert monitors
    (mark,) = marks_below(directories[0])
    assert len(cgroups_of(mark)) == 2 * len(find_places().branches)
    holder.process.send_signal(how)
    wait_until_gone(machines + monitors)
    assert remains(directories) == []
    limit = time.monotonic() + GONE_LIMIT_S
    while left := cgroups_of(mark):
        assert time.monotonic() < limit, f"still there: {left}"
        time.sleep(0.02)


@pytest.mark.root
def test_cgroups_that_nobody_could_remove_are_swept_at_the_next_start(
    holder: Holder, directories: tuple[Path, Path]
) -> None:
    _, *machines = holder.pids()
    (mark,) = marks_below(directories[0])
    undertakers = [
        pid
        for pid, words in commands().items()
        if b"read -r mark" in b" ".join(words) and parent_of(pid) == holder.process.pid
    ]
    assert len(undertakers) == 1
    left = cgroups_of(mark)
    Cgroups(f"luminaguard-{secrets.token_hex(16)}").places()
    assert cgroups_of(mark) == left != []  # the living ones' are left alone
    os.kill(undertakers[0], signal.SIGKILL)
    holder.close()
    wait_until_gone(machines)
    assert cgroups_of(mark) == left
    limit = time.monotonic() + GONE_LIMIT_S
    while cgroups_of(mark):  # a process that ended is in its cgroup a moment longer
        assert time.monotonic() < limit
        Cgroups(f"luminaguard-{secrets.token_hex(16)}").places()


def test_no_moment_of_a_start_leaves_a_machine_behind(
    guest_image: GuestImage, directories: tuple[Path, Path]
) -> None:
    cache = directories[0]
    for moment in range(10):
        one = Holder(guest_image, directories, "clone")
        limit = time.monotonic() + READY_LIMIT_S
        while not (marks := marks_below(cache)):  # a process that execs has no words for a moment
            assert time.monotonic() < limit
        time.sleep(0.0005 * moment)  # another moment of the start each time
        one.close()
        assert len(marks) == 1
        wait_until_gone(machines_of(marks.pop()))


async def test_a_killed_builder_leaves_nothing_that_stays(
    guest_image: GuestImage, empty: tuple[Path, Path], vm_spec: VmSpec
) -> None:
    builder = Holder(guest_image, empty, "building")
    try:
        builder.pids()
        await until(lambda: bool(list(empty[0].glob("templates/.building-*"))), READY_LIMIT_S)
        builder.process.send_signal(signal.SIGSTOP)  # it must not finish while we look around
        machines = confiners(empty[0])
        assert machines
    finally:
        builder.close()
    wait_until_gone(machines)
    assert not list(empty[0].glob("templates/*/manifest.json"))
    hypervisor = QemuHypervisor(*empty, image=guest_image)
    template = await hypervisor.template(vm_spec)
    assert (template.directory / "manifest.json").exists()
    assert remains(empty) == []
    hypervisor.close()


async def test_builders_at_the_same_time_make_one_template(
    guest_image: GuestImage, empty: tuple[Path, Path], vm_spec: VmSpec
) -> None:
    both = [QemuHypervisor(*empty, image=guest_image) for _ in range(2)]
    made: list[tuple[Template, int]] = []

    async def build(one: QemuHypervisor) -> None:
        template = await one.template(vm_spec)
        made.append((template, (template.directory / "ram").stat().st_ino))

    async with anyio.create_task_group() as tasks:
        for one in both:
            tasks.start_soon(build, one)
    assert made[0] == made[1]
    assert remains(empty) == []
    for one in both:
        one.close()


async def test_a_killed_machine_is_lost_and_said_to_be_stopped(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as machine:
        await machine.reseed(secrets.token_bytes(64), time.time_ns())

        async def kill() -> None:
            await anyio.sleep(0.3)
            os.kill(machine.pid, signal.SIGKILL)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            with pytest.raises(GuestLost):
                await machine.execute(Execution(argv=("sleep", "60")))
        assert machine.state is VmState.STOPPED
        assert not lives(machine.pid)


async def test_a_machine_that_died_unseen_is_not_running(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as machine:
        os.kill(machine.pid, signal.SIGKILL)
        await until(lambda: machine.state is VmState.STOPPED, GONE_LIMIT_S)


async def test_cancelling_a_restore_leaves_no_machine(
    qemu: QemuHypervisor, qemu_template: Template, vm_directories: tuple[Path, Path]
) -> None:
    for delay_s in (0.0, 0.01, 0.03, 0.06):
        with anyio.move_on_after(delay_s):
            async with await qemu.restore(qemu_template):
                await anyio.sleep(60)
        assert confiners(vm_directories[0]) == []


async def test_descriptors_are_all_given_back(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as machine:
        await machine.pause()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        async with await qemu.restore(qemu_template) as machine:
            await machine.pause()
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_a_guest_that_cannot_start_shows_its_console(
    guest_image: GuestImage, tmp_path: Path, vm_directories: tuple[Path, Path]
) -> None:
    broken = tmp_path / "image"
    broken.mkdir()
    for path in guest_image.directory.iterdir():
        if path.name != "rootfs":
            (broken / path.name).symlink_to(path)
    (broken / "rootfs").write_bytes(bytes(1024 * 1024))
    image = GuestImage(directory=broken, digest="0" * 64)
    hypervisor = QemuHypervisor(*vm_directories, image=guest_image)
    with pytest.raises(BootTimeout, match=r"luminaguard-init: .*mount"):
        await hypervisor.boot(VmSpec(image=image))
    assert confiners(vm_directories[0]) == []
