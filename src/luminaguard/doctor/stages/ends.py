"""How machines end: with their owner, at a stop, after a rejection, and never used again."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
from anyio import to_thread

from luminaguard.doctor.attack import CannotTry, Step
from luminaguard.doctor.ground import Ground, is_gone
from luminaguard.doctor.stages.tell import fact, tried
from luminaguard.doctor.words import error_name
from luminaguard.runtime import Session
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.backends.qemu.machine import QemuMachine
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.linux import user_id

_GONE_LIMIT_S = 10.0
_LOOK_S = 0.02
_HOLDER_LIMIT_S = 60.0
_OTHER_UID = 65534
"""Nobody, on every system."""


class _Watched(QemuHypervisor):
    """A hypervisor that remembers the machines that it made."""

    made: list[QemuMachine]

    async def restore(self, template: Template) -> QemuMachine:
        machine = await super().restore(template)
        self.made.append(machine)
        return machine


async def outlive_the_stop(ground: Ground) -> Sequence[Step]:
    """See whether anything of a machine is left right after its stop."""
    async with ground.machine() as machine:
        pid = machine.vm.pid
        steps = [fact("alive before", not is_gone(pid))]
        await machine.vm.stop()
        steps.append(fact("gone after", is_gone(pid)))
        steps.append(tried("signal it", lambda: os.kill(pid, 0)))
    return steps


async def outlive_a_killed_owner(ground: Ground) -> Sequence[Step]:
    """Kill the process that holds a running and a paused machine, without any warning."""
    holder = await to_thread.run_sync(_Holder, ground)
    try:
        pids = await to_thread.run_sync(holder.pids)
        steps = [fact("machines alive before", sum(not is_gone(pid) for pid in pids))]
    finally:
        holder.close()
    killed_s = time.monotonic()
    with anyio.move_on_after(_GONE_LIMIT_S):
        while not all(is_gone(pid) for pid in pids):  # noqa: ASYNC110 - the kernel is ending them
            await anyio.sleep(_LOOK_S)
    steps.append(fact("machines alive after", sum(not is_gone(pid) for pid in pids)))
    return [*steps, fact("seconds until they were gone", round(time.monotonic() - killed_s, 2))]


async def reuse_a_rejected_machine(ground: Ground) -> Sequence[Step]:
    """Plant something in a machine whose call is then rejected, and look for it in the next."""
    with tempfile.TemporaryDirectory(prefix="luminaguard-doctor-") as tree:
        return await _reuse(ground, Path(tree))


async def _reuse(ground: Ground, tree: Path) -> Sequence[Step]:
    (tree / "a.txt").write_text("a", encoding="ascii")
    own = replace(ground.settings, state_dir=ground.room / "state")
    hypervisor = _Watched(ground.cache_dir, ground.room / "run", image=ground.template.spec.image)
    hypervisor.made = []
    try:
        async with Session(
            tree,
            approver="deny",
            settings=own,
            hypervisor=hypervisor,
            image=ground.template.spec.image,
        ) as session:
            plant = "echo x >/tmp/planted; echo x >planted; echo x >>a.txt"
            first = await session.exec(["sh", "-c", plant])
            ended = [is_gone(machine.pid) for machine in hypervisor.made] == [True]
            second = await session.exec(["ls", "/tmp", "."])  # noqa: S108 - the guest's own
        seen = second.report.stdout.decode(errors="replace") if second.report else "nothing"
    finally:
        hypervisor.close()
    return [
        fact("the call ended", first.kind.value),
        fact("its machine is gone", ended),
        fact("machines made", len(hypervisor.made)),
        fact("the next call ended", second.kind.value),
        fact("the next call sees the workspace", "a.txt" in seen),
        fact("the next call sees what was planted", "planted" in seen),
    ]


async def read_a_template_as_another_user(ground: Ground) -> Sequence[Step]:
    """Read a saved guest as another user of this host."""
    if user_id() != 0:
        raise CannotTry("only root can try it as another user", "run as root")
    names = [str(path) for path in sorted(ground.template.directory.iterdir())]
    return await to_thread.run_sync(lambda: [_read_as_nobody(name) for name in names])


def _read_as_nobody(path: str) -> Step:
    done = subprocess.run(
        [tool("cat"), path],
        user=_OTHER_UID,
        group=_OTHER_UID,
        extra_groups=[],
        env={"LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_HOLDER_LIMIT_S,
        check=False,
        cwd="/",
    )
    did = f"read {Path(path).name}"
    if done.returncode == 0:
        return Step(did=did)
    return Step(did=did, refused=error_name(done.stderr.decode(errors="replace")))


class _Holder:
    """Another process that holds machines. See `luminaguard.doctor.holder`."""

    def __init__(self, ground: Ground) -> None:
        spec = ground.template.spec
        words = [spec.image.directory, spec.image.digest, ground.cache_dir, ground.room / "run"]
        arguments = [*map(str, words), str(spec.memory_mib)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "luminaguard.doctor.holder", *arguments],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def pids(self) -> list[int]:
        """Wait for its machines; return their process ids, none when it failed."""
        if self._process.stdout is None:
            return []
        return [int(word) for word in self._process.stdout.readline().split()]

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.communicate(timeout=_HOLDER_LIMIT_S)
