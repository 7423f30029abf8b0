"""QEMU without anything of Linux's: on a Mac under its accelerator, on Linux translated instead.

On Linux this shows everything of the backend but what systems do differently: their accelerators,
their job objects, who owns a connection.
"""

import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from guestcalls import harvested, run, shell
from luminaguard.domain.isolation import Tier
from luminaguard.errors import HypervisorUnavailable, VmStateError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.accelerator import TCG
from luminaguard.vm.backends.qemu.portable.backend import PortableQemu
from luminaguard.vm.backends.qemu.portable.jail import portable_jail
from luminaguard.vm.backends.qemu.portable.transport import InheritedLine, Line, LoopbackLine
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec
from vm_fixtures import imaged

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.vm,
    pytest.mark.skipif(sys.platform == "win32", reason="workspaces are not ported to Windows"),
]

WORKSPACE = "/work/project"
WAIVED = frozenset(portable_jail(sys.platform, runtime_private=True).missing)
ACCELERATORS = (TCG,) if sys.platform == "linux" else None


def owner(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """Ask /proc what Windows would be asked: who holds this end of a connection."""
    wanted = tuple(f"{port:04X}" for _, port in (local, remote))
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    inodes = [row[9] for row in rows if (row[1][-4:], row[2][-4:]) == wanted]
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            held = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry))
        except OSError:
            continue
        if held and held[1] in inodes:
            return int(entry.parts[2])
    return None


async def test_a_booted_machine_does_a_call_and_leaves_nothing(
    guest_image: GuestImage, tmp_path: Path
) -> None:
    last = InheritedLine if sys.platform == "darwin" else partial(LoopbackLine, owner)
    lines: Iterator[Line] = (kind() for kind in cycle((InheritedLine, last)))
    hypervisor = PortableQemu(
        tmp_path / "cache",
        tmp_path / "run",
        allow_missing=WAIVED,
        accelerators=ACCELERATORS,
        lines=lambda: next(lines),  # on Linux QMP is inherited, and the agent comes over loopback
    )
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a,b.txt").write_text("old\n")
    image, scratch = imaged(tree, tmp_path / "image", "squashfs"), scratch_disk(tmp_path, 64 << 20)
    async with await hypervisor.boot(VmSpec(image=guest_image)) as machine:
        wanted = {"tcg": Tier.EMULATED, "hvf": Tier.HARDWARE}[machine.isolation.accelerator]
        assert machine.isolation.tier is wanted
        assert "seccomp" in machine.isolation.jail.missing
        await machine.exercise()
        await machine.pause()
        with pytest.raises(VmStateError):
            await machine.exercise()
        await machine.attach(workspace_fd=image, scratch_fd=scratch)
        await machine.resume()
        await machine.reseed(secrets.token_bytes(64), time.time_ns())
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        assert (await shell(machine, "cat 'a,b.txt'")).stdout == b"old\n"
        assert (await run(machine, "touch", "made")).exit_code == 0
        assert set((await harvested(machine))[0]) == {b"", b"made"}
        pid = machine.pid
        assert machine.state is VmState.RUNNING
    os.close(image)
    os.close(scratch)
    assert machine.state is VmState.STOPPED
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list((tmp_path / "run/qemu").iterdir()) == []


async def test_without_a_waiver_nothing_is_started(guest_image: GuestImage, tmp_path: Path) -> None:
    hypervisor = PortableQemu(tmp_path / "cache", tmp_path / "run", accelerators=ACCELERATORS)
    with pytest.raises(HypervisorUnavailable, match="below the minimum"):
        await hypervisor.boot(VmSpec(image=guest_image))
    assert not (tmp_path / "run/qemu").exists()
