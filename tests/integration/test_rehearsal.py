"""A clone that has rehearsed a whole call is faster, and nothing of the rehearsal is in it."""

import os
import secrets
import time
from pathlib import Path

import pytest
from tests.vm_fixtures import imaged

from luminaguard.domain.execution import Execution
from luminaguard.domain.harvest import FileBytes
from luminaguard.machines import empty_workspace
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import GuestMount, MicroVM, Template

pytestmark = [pytest.mark.vm, pytest.mark.anyio]
_SHOWN = "/srv/project"
_LOOK = f"""
import os
print(sorted(os.listdir("{_SHOWN}")), sorted(os.listdir("/tmp")), os.path.exists("/tmp/rehearsal"))
print(sum(line.split()[2] == "overlay" for line in open("/proc/self/mounts")))
open("{_SHOWN}/new", "w").close()
"""


async def hand_out(machine: MicroVM, image: int, cache: Path) -> None:
    scratch = scratch_disk(cache, 256 * 1024 * 1024)
    try:
        await machine.attach(workspace_fd=image, scratch_fd=scratch)
    finally:
        os.close(scratch)
    await machine.resume()
    await machine.reseed(secrets.token_bytes(64), time.time_ns())
    await machine.mount(GuestMount(path=_SHOWN, filesystem="erofs"))


async def test_a_rehearsed_clone_shows_its_own_workspace_only_and_mounts_it_sooner(
    vm_directories: tuple[Path, Path], qemu_template: Template, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "mine.txt").write_text("mine")
    image = imaged(tree, tmp_path / "image", "erofs")
    cache, runtime = vm_directories
    hypervisor = QemuHypervisor(cache, runtime, rehearsal=empty_workspace)
    try:
        async with await hypervisor.restore(qemu_template) as machine:
            started_s = time.perf_counter()
            await machine.exercise()
            rehearsal_s = time.perf_counter() - started_s
            await machine.pause()
            started_s = time.perf_counter()
            await hand_out(machine, image, cache)
            assert time.perf_counter() - started_s < rehearsal_s
            report = await machine.execute(Execution(python=_LOOK))
            assert report.stdout == b"['mine.txt'] [] False\n1\n", report.stderr
            changed = [record async for record in machine.harvest()]
    finally:
        hypervisor.close()
        os.close(image)
    paths = [record.path for record in changed if not isinstance(record, FileBytes)]
    assert paths == [b"", b"new"]
