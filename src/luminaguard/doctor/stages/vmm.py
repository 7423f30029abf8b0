"""A running QEMU: its filter, its open files, its user, what it maps."""

import os
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from luminaguard.doctor.attack import CannotTry, Step
from luminaguard.doctor.ground import Ground, is_gone
from luminaguard.doctor.layers import how_to_get
from luminaguard.doctor.stages.tell import fact, refusal, tried
from luminaguard.errors import GuestLost, VmError
from luminaguard.vm.backends.qemu.accelerator import by_name
from luminaguard.vm.backends.qemu.command import Shape, Wiring, clone_command
from luminaguard.vm.backends.qemu.launch import Files, Launched, Launcher, find_qemu
from luminaguard.vm.confinement.uids import LOCKS
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.linux import memory_file, seal, user_id, write_at
from luminaguard.vm.savedmemory import sealed_copy

_MEMORY_MIB = 64
_DIES_WITHIN_S = 10.0
_LOOK_S = 0.02
_TEMPLATE_MEMORY = "memfd:luminaguard-template"


async def start_a_program(ground: Ground) -> Sequence[Step]:
    """Ask QEMU to start a program, as one that was taken over would."""
    did = "start a program"
    async with _bare_qemu(ground) as launched:
        try:
            await launched.qmp.execute("migrate", uri="exec:/usr/bin/true")
            await launched.qmp.execute("query-status")
        except GuestLost as lost:  # the filter killed it, as QEMU 7.2 has it
            with anyio.move_on_after(_DIES_WITHIN_S):
                while launched.process.alive:  # noqa: ASYNC110 - the kernel is ending it
                    await anyio.sleep(_LOOK_S)
            gone = is_gone(launched.process.pid)
            return [Step(did=did, refused="SIGSYS" if gone else "GuestLost", value=str(lost))]
        except VmError as error:  # the filter refused the call, as QEMU 10 has it
            refused = "EPERM" if "Operation not permitted" in str(error) else "VmError"
            return [Step(did=did, refused=refused, value=str(error)[:100])]
    return [Step(did=did)]


async def write_the_templates_memory(ground: Ground) -> Sequence[Step]:
    """Write, through QEMU's own descriptor, what later clones start from."""
    async with await ground.hypervisor.restore(ground.template) as vm:
        steps: list[Step] = []
        for path in _held(vm.pid, _TEMPLATE_MEMORY):
            try:
                memory = os.open(path, os.O_RDWR)
            except FileNotFoundError:  # QEMU has closed this one meanwhile
                continue
            try:
                steps += [
                    tried("write", lambda at=memory: write_at(at, b"evil", 0)),
                    tried("shrink", lambda at=memory: os.ftruncate(at, 4096)),
                    tried("grow", lambda at=memory: os.ftruncate(at, 1 << 40)),
                ]
            finally:
                os.close(memory)
    return steps


async def write_the_read_only_disks(ground: Ground) -> Sequence[Step]:
    """Write the image and the workspace through QEMU's own descriptors."""
    image = _real(ground.template.spec.image.rootfs)
    async with ground.machine() as machine:
        workspace = os.readlink(f"/proc/self/fd/{machine.image_fd}")
        steps: list[Step] = []
        for name, target in (("image", image), ("workspace", workspace)):
            modes = {_access_mode(machine.vm.pid, fd) for fd in _numbers(machine.vm.pid, target)}
            steps.append(fact(f"{name} is open", bool(modes)))
            steps.append(fact(f"{name} is open for reading only", modes == {os.O_RDONLY}))
    return steps


async def use_what_it_inherited(ground: Ground) -> Sequence[Step]:
    """Look for open files of LuminaGuard's own in QEMU."""
    secret = ground.room / "secret"
    secret.write_text("secret", encoding="ascii")
    planted = os.open(secret, os.O_RDONLY)
    os.set_inheritable(planted, True)  # noqa: FBT003 - it has no name for it
    try:
        async with await ground.hypervisor.restore(ground.template) as vm:
            names = {name for name in _targets(vm.pid) if name.startswith("/")}
    finally:
        os.close(planted)
    image = _real(ground.template.spec.image.rootfs)
    expected = ("/dev/null", "/memfd:luminaguard-", f"{LOCKS}/", "/dev/kvm", image)
    odd = sorted(name for name in names if not name.startswith(expected))
    return [fact("its image is open", image in names), fact("other open files", [*odd])]


async def share_a_user(ground: Ground) -> Sequence[Step]:
    """See whether two machines are the same user while one of them lives."""
    async with await ground.hypervisor.restore(ground.template) as one:
        why = one.isolation.jail.missing.get("distinct-uid")
        if why is not None:
            raise CannotTry(why, how_to_get("distinct-uid"))
        mine = os.stat(f"/proc/{one.pid}").st_uid
        steps = [fact("the host's root or our own user", mine in {0, user_id()})]
        async with await ground.hypervisor.restore(ground.template) as two:
            steps += _both("users of two at once", mine, os.stat(f"/proc/{two.pid}").st_uid)
        async with await ground.hypervisor.restore(ground.template) as three:
            steps += _both(
                "users of it and a later one", mine, os.stat(f"/proc/{three.pid}").st_uid
            )
    return steps


def _both(did: str, one: int, other: int) -> list[Step]:
    return [fact(did, one), fact(did, other)]


async def wake_a_template_that_never_was(ground: Ground) -> Sequence[Step]:
    """Restore under a key that nothing was saved for."""
    wrong = Template(
        key=secrets.token_hex(32), directory=ground.template.directory, spec=ground.template.spec
    )
    return [await _restored("restore under another key", ground, wrong)]


async def _restored(did: str, ground: Ground, template: Template) -> Step:
    try:
        async with await ground.hypervisor.restore(template):
            return Step(did=did)
    except VmError as problem:
        return refusal(did, problem)


@asynccontextmanager
async def _bare_qemu(ground: Ground) -> AsyncGenerator[Launched]:
    """Give a QEMU without a guest, launched and jailed like a clone."""
    probe = await ground.hypervisor.probe()
    shape = Shape(
        binary=find_qemu(),
        accelerator=by_name(probe.accelerator),
        memory_mib=_MEMORY_MIB,
        vcpus=1,
        disk_limit_bytes=1 << 20,
    )
    launcher = Launcher(ground.cache_dir, ground.room / "run", frozenset())
    memory = memory_file("luminaguard-template", shape.memory_bytes)
    seal(memory)
    state = sealed_copy("luminaguard-state", b"none")
    root = os.open(ground.template.spec.image.rootfs, os.O_RDONLY)
    try:
        files = Files(memory=memory, root=root, state=state)
        launched = await launcher.launch(shape, files, _idle_command)
        try:
            yield launched
        finally:
            with anyio.CancelScope(shield=True):
                await launched.end()
    finally:
        launcher.close()
        for fd in (memory, state, root):
            os.close(fd)


def _idle_command(shape: Shape, wiring: Wiring) -> list[str]:
    """Return a clone's command line, less the guest: its processor never starts."""
    command = clone_command(shape, wiring)
    return [*command[: command.index("-incoming")], "-S"]


def _real(path: Path) -> str:
    """Return a path as the kernel shows it."""
    return os.path.realpath(path)


def _targets(pid: int) -> list[str]:
    targets: list[str] = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            targets.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return targets


def _numbers(pid: int, target: str) -> list[str]:
    found: list[str] = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            if target in os.readlink(f"/proc/{pid}/fd/{fd}"):
                found.append(fd)
    return found


def _held(pid: int, target: str) -> list[str]:
    return [f"/proc/{pid}/fd/{fd}" for fd in _numbers(pid, target)]


def _access_mode(pid: int, fd: str) -> int:
    """Return how a descriptor was opened. Source: proc_pid_fdinfo(5), "flags", octal."""
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as source:
        flags = next(line for line in source if line.startswith("flags:"))
    return int(flags.split()[1], 8) & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
