"""Machines of processes come, go and are ended from outside: nothing of them stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from luminaguard.domain.execution import Execution
from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSymlink,
    Whiteout,
)
from luminaguard.errors import GuestLost, HypervisorUnavailable, VmStateError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.process.backend import ProcessHypervisor
from luminaguard.vm.backends.process.launch import marked
from luminaguard.vm.confinement.descent import descendants
from luminaguard.vm.hypervisor import MicroVM
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec
from rooted import WORKSPACE, furnished, imaged_disks, lives, reseeded, shell, state

pytestmark = pytest.mark.anyio

HOLDER = Path(__file__).with_name("rooted_holder.py")
GONE_LIMIT_S = 10.0


def wait_until_gone(*pids: int) -> None:
    limit_s = time.monotonic() + GONE_LIMIT_S
    while (left := [pid for pid in pids if lives(pid)]) and time.monotonic() < limit_s:
        time.sleep(0.02)
    assert left == []


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(GONE_LIMIT_S):
        while not condition():  # noqa: ASYNC110 - nothing tells of other processes
            await anyio.sleep(0.02)


def rooms(runtime: Path) -> list[Path]:
    return list((runtime / "process").glob("luminaguard-*"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = tmp_path / "tree"
    for name in ("replaced", "emptied", "deep/down", "gone", "kept"):
        (place / name).mkdir(parents=True)
        (place / name / "file").write_text(f"{name}\n")
    (place / "a.txt").write_text("old\n")
    (place / "link").symlink_to("a.txt")
    (place / "run.sh").write_text("#!/bin/sh\n")
    return place


@pytest.fixture(params=["squashfs", "erofs"])
def filesystem(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def disks(filesystem: str, tree: Path, tmp_path: Path) -> Iterator[tuple[int, int]]:
    with imaged_disks(tree, tmp_path, filesystem=filesystem) as made:
        yield made


@pytest.fixture
async def machine(process: ProcessHypervisor, vm_spec: VmSpec) -> AsyncIterator[MicroVM]:
    async with reseeded(process, vm_spec) as booted:
        yield booted


EDITS = """
echo new >> a.txt; chmod +x run.sh; ln -sf run.sh link; mkfifo pipe
rm -r replaced gone; mkdir replaced; echo x > replaced/other; rm emptied/file
echo y > deep/down/made; mkdir -p new/nested; echo z > new/nested/file
rm kept/file; mkdir kept/file; truncate -s 100000 sparse; printf end >> sparse
"""
UNCHANGED = "cat a.txt link run.sh deep/down/file; touch a.txt; chmod 644 a.txt"


@pytest.fixture(params=[False, True], ids=["overlay", "copy"])
def either(
    request: pytest.FixtureRequest, process: ProcessHypervisor, vm_directories: tuple[Path, Path]
) -> Iterator[ProcessHypervisor]:
    if not request.param:
        yield process
        return
    cache, runtime = vm_directories
    hypervisor = ProcessHypervisor(cache, runtime, copying=True)
    yield hypervisor
    hypervisor.close()


async def harvested(
    hypervisor: ProcessHypervisor, spec: VmSpec, disks: tuple[int, int], script: str
) -> list[UpperRecord]:
    async with furnished(hypervisor, spec, disks) as machine:
        report = await shell(machine, script, WORKSPACE)
        assert (report.exit_code, report.stderr) == (0, b"")
        return [record async for record in machine.harvest()]


async def test_the_same_changes_come_out_whether_by_overlay_or_by_copy(
    either: ProcessHypervisor, vm_spec: VmSpec, disks: tuple[int, int]
) -> None:
    records = await harvested(either, vm_spec, disks, EDITS)
    told = {one.path: one for one in records if not isinstance(one, FileBytes)}
    # A comparison sees what is gone from a directory, an overlay that the directory is another.
    told.pop(b"replaced/file", None)
    kinds = {path: type(one).__name__ for path, one in told.items() if path}
    assert kinds == {
        b"a.txt": "UpperFile",
        b"run.sh": "UpperFile",
        b"link": "UpperSymlink",
        b"pipe": "UpperSpecial",
        b"replaced": "UpperDirectory",
        b"replaced/other": "UpperFile",
        b"gone": "Whiteout",
        b"emptied": "UpperDirectory",
        b"emptied/file": "Whiteout",
        b"deep": "UpperDirectory",
        b"deep/down": "UpperDirectory",
        b"deep/down/made": "UpperFile",
        b"new": "UpperDirectory",
        b"new/nested": "UpperDirectory",
        b"new/nested/file": "UpperFile",
        b"kept": "UpperDirectory",
        b"kept/file": "UpperDirectory",
        b"sparse": "UpperFile",
    }
    opaque = {path for path, one in told.items() if isinstance(one, UpperDirectory) and one.opaque}
    assert b"kept/file" in opaque
    assert not opaque & {b"", b"deep", b"deep/down", b"emptied", b"kept"}
    assert isinstance(told[b"link"], UpperSymlink)
    assert isinstance(told[b"gone"], Whiteout)
    assert isinstance(told[b"run.sh"], UpperFile)
    assert told[b"run.sh"].mode & 0o111
    contents = [one.content for one in records if isinstance(one, FileBytes)]
    assert {b"old\nnew\n", b"x\n", b"y\n", b"z\n"} <= set(contents)
    assert sum(map(len, contents)) < 50_000  # the hole was not sent
    order = [one.path for one in records if not isinstance(one, FileBytes)]
    assert all(order.index(os.path.dirname(path)) < order.index(path) for path in kinds)


@pytest.mark.parametrize("filesystem", ["squashfs"])
async def test_a_copy_that_was_only_read_or_touched_has_not_changed(
    vm_spec: VmSpec, disks: tuple[int, int], vm_directories: tuple[Path, Path]
) -> None:
    hypervisor = ProcessHypervisor(*vm_directories, copying=True)
    try:
        records = await harvested(hypervisor, vm_spec, disks, UNCHANGED)
    finally:
        hypervisor.close()
    assert [type(one) for one in records] == [UpperDirectory]


async def test_a_pause_stops_a_running_command_and_all_else(machine: MicroVM) -> None:
    busy = Execution(argv=("sh", "-c", "while :; do :; done & wait"), timeout_s=60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machine.execute, busy)
        await until(lambda: len(descendants(machine.pid)) >= 3)  # the box, and two shells
        await machine.pause()
        inside = [machine.pid, *descendants(machine.pid)]
        assert len(inside) >= 4
        assert {state(pid) for pid in inside} == {"T"}
        await machine.resume()
        tasks.cancel_scope.cancel()
    assert (await shell(machine, "echo fine")).stdout == b"fine\n"


async def test_what_a_command_leaves_is_ended_and_named(machine: MicroVM) -> None:
    script = "for n in 1 2 3; do setsid sh -c 'while :; do :; done' >/dev/null 2>&1 & done"
    report = await shell(machine, script)
    assert report.exit_code == 0
    assert "sh" in report.leftover
    assert len(descendants(machine.pid)) <= 2  # the box, and the one that waits for a command


async def test_a_killed_agent_is_a_lost_machine_and_takes_everything_along(
    machine: MicroVM, vm_directories: tuple[Path, Path]
) -> None:
    before = descendants(os.getpid())
    own = [pid for pid in before if pid == machine.pid or machine.pid in descendants(pid)]
    own += descendants(machine.pid)
    os.kill(machine.pid, signal.SIGKILL)
    with pytest.raises((GuestLost, VmStateError)):
        await shell(machine, "true")
    await machine.stop()
    assert machine.state is VmState.STOPPED
    wait_until_gone(*own)
    assert rooms(vm_directories[1]) == []


@pytest.mark.parametrize("moment_s", [0.005, 0.03, 0.08, 0.15])
async def test_a_cancelled_start_leaves_nothing(
    process: ProcessHypervisor,
    vm_spec: VmSpec,
    vm_directories: tuple[Path, Path],
    moment_s: float,
) -> None:
    await process.probe()
    with anyio.move_on_after(moment_s):
        async with await process.boot(vm_spec):
            await anyio.sleep(10)
    mark = process._undertaker.mark + "-"  # pyright: ignore[reportPrivateUsage]
    await until(lambda: not marked(mark))
    assert rooms(vm_directories[1]) == []


async def test_a_jail_below_the_minimum_is_refused(
    vm_spec: VmSpec, tmp_path: Path, vm_directories: tuple[Path, Path]
) -> None:
    runtime = tmp_path / "open"
    runtime.mkdir()
    runtime.chmod(0o755)
    other = ProcessHypervisor(vm_directories[0], runtime, image=vm_spec.image)
    try:
        with pytest.raises(HypervisorUnavailable, match="private-runtime-directory"):
            await other.boot(vm_spec)
    finally:
        other.close()
    assert rooms(runtime) == []


def test_machines_end_with_the_process_that_made_them_and_the_next_one_clears_up(
    guest_image: GuestImage, vm_directories: tuple[Path, Path], tmp_path: Path
) -> None:
    runtime = tmp_path / "run"
    where = [str(guest_image.directory), guest_image.digest, str(vm_directories[0]), str(runtime)]
    with subprocess.Popen(
        [sys.executable, str(HOLDER), "process", *where], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        line = holder.stdout.readline().split()
        assert len(line) == 2, "the holder did not start"
        owner, agent = map(int, line)
        everything = [*descendants(owner)]
        assert agent in everything
        os.kill(owner, signal.SIGKILL)
    wait_until_gone(*everything)
    assert len(rooms(runtime)) == 1
    anyio.run(_one_machine, ProcessHypervisor(vm_directories[0], runtime, image=guest_image))
    assert rooms(runtime) == []


async def _one_machine(hypervisor: ProcessHypervisor) -> None:
    with suppress(HypervisorUnavailable):
        await hypervisor.probe()
    hypervisor.close()
