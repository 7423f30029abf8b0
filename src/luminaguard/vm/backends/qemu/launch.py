"""Starting one QEMU: wiring, jail, control connection, and the check of what it really has."""

import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, HypervisorUnavailable, VmError
from luminaguard.vm.architecture import host_architecture
from luminaguard.vm.backends.qemu.command import Shape, Wiring
from luminaguard.vm.backends.qemu.qmp import Qmp
from luminaguard.vm.channel import Channel
from luminaguard.vm.confinement.apparmor import AppArmor, find_profile
from luminaguard.vm.confinement.berth import Berth, Berths
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.cgroups.machine import MachineCgroup
from luminaguard.vm.confinement.jail import (
    NAMESPACE_LAYERS,
    Confinement,
    Limits,
)
from luminaguard.vm.confinement.jailroot import JailRoot, existing_root, prepare_root
from luminaguard.vm.confinement.process import VmmProcess
from luminaguard.vm.confinement.readback import read_jail, require_minimum
from luminaguard.vm.confinement.undertaker import Undertaker
from luminaguard.vm.confinement.userns import namespaces_refused
from luminaguard.vm.directories import cache_lock, make_private
from luminaguard.vm.guest import GuestClient

_GREETING_LIMIT_S = 20.0
_COPY_LIMIT_S = 60.0
_BEYOND_GUEST_BYTES = 3 * 1024**3
"""Address space of QEMU itself: libraries, thread stacks, translated code."""

_BESIDE_GUEST_BYTES = 512 * 1024**2
"""Resident memory of QEMU itself: at most 256 MiB of translated code, and what was measured."""
_BESIDE_GUEST_THREADS = 80
"""QEMU's own: at most 64 workers, some more, and the processes that confine it."""
_WEIGHT_PER_CPU = 100
"""As much as one of the user's own programs has, however many threads run in the machine."""

_REFUSING = ("nsenter:", "setpriv:", "bwrap:")
"""Tools that use a user's subordinate ids, as they begin what they say."""

CommandBuilder = Callable[[Shape, Wiring], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Open files of a start; they stay the caller's."""

    memory: int
    root: int
    kernel: int | None = None
    initrd: int | None = None
    console: int | None = None
    state: int | None = None
    """Saved device state, for a clone, whose memory is then a template's."""
    filled: Callable[[], Awaitable[None]] | None = None
    """Returns once a template's memory is checked and sealed; QEMU's start need not wait for it."""

    def wiring(self, control: int, agent: int, mark: str) -> Wiring:
        """Return the descriptors as the command line wants them."""
        return Wiring(
            mark=mark,
            control=control,
            agent=agent,
            memory=self.memory,
            root=self.root,
            kernel=self.kernel,
            initrd=self.initrd,
            console=self.console,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A QEMU that is up, confined and checked; its guest need not be."""

    process: VmmProcess
    qmp: Qmp
    client: GuestClient
    isolation: Isolation
    cgroup: MachineCgroup

    async def end(self) -> None:
        """Kill it and wait until it is gone. Idempotent."""
        self.client.close()
        await self.process.end()
        await self.qmp.close()
        await self.cgroup.remove()


class Launcher:
    """Starts confined QEMUs on this host."""

    def __init__(self, cache_dir: Path, runtime_dir: Path, allow_missing: frozenset[str]) -> None:
        """Keep where things lie, and which jail layers the user's configuration waives."""
        self._cache_dir = cache_dir
        self._runtime_dir = runtime_dir
        self._allow_missing = allow_missing
        self._root: JailRoot | None = None
        self._undertaker = Undertaker()
        self._berths = Berths(self._undertaker.mark)
        self._apparmor = find_profile()

    def close(self) -> None:
        """Let go of what watches over the machines; all of them have been ended."""
        self._undertaker.close()
        self._berths.close()

    async def launch(self, shape: Shape, files: Files, build: CommandBuilder) -> Launched:
        """Start QEMU in its jail and check that jail.

        Raises:
            HypervisorUnavailable: QEMU cannot be confined as it must be.
            GuestLost: QEMU ended at once; the message holds its last words.
        """
        try:
            return await self._attempt(shape, files, build, namespaces=True)
        except HypervisorUnavailable:
            if not self._allow_missing >= NAMESPACE_LAYERS:
                raise
        return await self._attempt(shape, files, build, namespaces=False)

    def _goes_without(self, problem: str, berth: Berth, apparmor: AppArmor) -> bool:
        """Give up a layer beyond the minimum that its tool refused; False if none did.

        For good: whatever else ends a start is no reason to be confined less from then on.
        """
        if apparmor.profile is not None and "setpriv:" in problem:
            self._apparmor = AppArmor(lacking=f"the profile cannot be taken on: {problem}")
        elif berth.is_subordinate and any(name in problem for name in _REFUSING):
            self._berths.give_up_uids(f"the subordinate uids cannot be used here: {problem}")
        else:
            return False
        return True

    async def _attempt(
        self, shape: Shape, files: Files, build: CommandBuilder, *, namespaces: bool
    ) -> Launched:
        root = await self._jail_root(shape.binary)
        berth = await self._berths.take(
            _cgroup_limits(shape), shape.accelerator.device, namespaces=namespaces
        )
        confinement = Confinement(
            root=root,
            limits=_limits(shape),
            lease=berth.lease,
            joins=berth.cgroup.joins,
            apparmor=self._apparmor.profile,
            device=shape.accelerator.device,
            mark=self._undertaker.mark,
            namespaces=namespaces,
        )
        apparmor = self._apparmor
        try:
            return await self._start(shape, files, build, confinement, berth, apparmor)
        except BaseException as problem:
            with anyio.CancelScope(shield=True):
                await berth.cgroup.remove()
            if not isinstance(problem, VmError) or not self._goes_without(
                str(problem), berth, apparmor
            ):
                raise
        return await self._attempt(shape, files, build, namespaces=namespaces)

    async def _start(
        self,
        shape: Shape,
        files: Files,
        build: CommandBuilder,
        confinement: Confinement,
        berth: Berth,
        apparmor: AppArmor,
    ) -> Launched:
        control, control_end = socket.socketpair()
        agent, agent_end = socket.socketpair()
        client = GuestClient(Channel(agent))
        wiring = files.wiring(control_end.fileno(), agent_end.fileno(), self._undertaker.mark)
        inherited = [*wiring.all(), *((files.state,) if files.state is not None else ())]
        self._undertaker.start(self._berths.cgroups.parents)
        try:
            process = await VmmProcess.start(
                build(shape, wiring), confinement, [*inherited, *berth.inherited]
            )
        except BaseException as problem:
            control.close()
            client.close()
            _explain(problem)
            raise
        finally:  # the child has its own duplicates, the hold on its uid among them
            control_end.close()
            agent_end.close()
            berth.disembark()
        return await self._greet(process, control, client, shape, files, berth, apparmor)

    async def _greet(
        self,
        process: VmmProcess,
        control: socket.socket,
        client: GuestClient,
        shape: Shape,
        files: Files,
        berth: Berth,
        apparmor: AppArmor,
    ) -> Launched:
        qmp = Qmp()
        try:
            try:
                with anyio.fail_after(_GREETING_LIMIT_S):
                    await qmp.connect(control)
            except GuestLost as lost:
                words = await process.last_words()
                raise GuestLost(f"QEMU did not start: {words}", words=words) from lost
            process.find_program()
            if files.filled is not None:
                await files.filled()
            jail = read_jail(
                process.pid,
                sealed_memory=None if files.state is None else files.memory,
                runtime_private=make_private(self._runtime_dir),
                berth=berth,
                apparmor=apparmor,
            )
            require_minimum(jail, allow_missing=self._allow_missing, clone=files.state is not None)
        except BaseException as problem:
            with anyio.CancelScope(shield=True):
                client.close()
                await process.end()
                await qmp.close()
                control.close()
            _explain(problem)
            raise
        accelerator = shape.accelerator
        isolation = Isolation(
            backend="qemu",
            tier=accelerator.tier,
            accelerator=accelerator.name,
            jail=jail,
            guest=shape.profile.stamp,
        )
        return Launched(
            process=process, qmp=qmp, client=client, isolation=isolation, cgroup=berth.cgroup
        )

    async def _jail_root(self, binary: str) -> JailRoot:
        programs = (binary,)
        if self._root is None:
            self._root = existing_root(self._cache_dir, programs)
        if self._root is None:
            async with cache_lock(self._cache_dir / "jail.d", limit_s=_COPY_LIMIT_S):
                self._root = existing_root(self._cache_dir, programs) or await run_sync(
                    prepare_root, self._cache_dir, programs
                )
        return self._root


def find_qemu() -> str:
    """Return the path of QEMU.

    Raises:
        HypervisorUnavailable: it is not installed, or this system cannot confine it.
    """
    if sys.platform != "linux":
        raise HypervisorUnavailable(
            f"QEMU machines cannot be confined on {sys.platform} yet",
            hint="run LuminaGuard on Linux",
        )
    architecture = host_architecture()
    path = shutil.which(architecture.binary)
    if path is None:
        raise HypervisorUnavailable(
            f"{architecture.binary} is missing", hint=f"apt-get install {architecture.package}"
        )
    return os.path.realpath(path)


def _limits(shape: Shape) -> Limits:
    return Limits(
        address_space_bytes=shape.memory_bytes + _BEYOND_GUEST_BYTES,
        file_bytes=max(shape.disk_limit_bytes, shape.memory_bytes),
        processes=shape.vcpus + _BESIDE_GUEST_THREADS,
    )


def _cgroup_limits(shape: Shape) -> CgroupLimits:
    return CgroupLimits(
        memory_bytes=shape.memory_bytes + _BESIDE_GUEST_BYTES,
        processes=shape.vcpus + _BESIDE_GUEST_THREADS,
        cpus=shape.vcpus + 1.0,
        weight=_WEIGHT_PER_CPU * shape.vcpus,
    )


def _explain(problem: BaseException) -> None:
    """Raise what a failed confinement means, if that is what `problem` tells of."""
    words = str(problem.context.get("words", "")) if isinstance(problem, GuestLost) else ""
    if "bwrap:" in words:
        raise namespaces_refused(words) from problem
    if isinstance(problem, TimeoutError):
        raise GuestLost("QEMU did not greet in time") from problem
