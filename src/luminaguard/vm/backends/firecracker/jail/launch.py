"""Starting one Firecracker on this host: a uid, a cgroup, a room, a jail, and a first answer."""

import os
import secrets
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import Jail
from luminaguard.errors import GuestLost, HypervisorUnavailable, VmError
from luminaguard.vm.backends.firecracker.api.bodies import Logger, LogLevel, Metrics
from luminaguard.vm.backends.firecracker.api.client import ApiClient
from luminaguard.vm.backends.firecracker.api.faults import ApiLost
from luminaguard.vm.backends.firecracker.host import Programs
from luminaguard.vm.backends.firecracker.jail.commands import API_SOCKET, Start, confined
from luminaguard.vm.backends.firecracker.launched import Launched, TemplateMemory
from luminaguard.vm.backends.firecracker.pipes import MetricsTail, Tail
from luminaguard.vm.backends.firecracker.room import READ_ONLY, WRITABLE, Room, sweep
from luminaguard.vm.backends.firecracker.shape import LOG, METRICS, Shape
from luminaguard.vm.confinement.berth import Berth
from luminaguard.vm.confinement.cgroups.machine import Cgroups
from luminaguard.vm.confinement.process import VmmProcess
from luminaguard.vm.confinement.readback import (
    SEALED_TEMPLATE,
    read_jail,
    require_minimum,
)
from luminaguard.vm.confinement.uids import lease_uid
from luminaguard.vm.confinement.undertaker import Undertaker
from luminaguard.vm.confinement.userns import namespaces_refused
from luminaguard.vm.directories import make_private
from luminaguard.vm.linux import quiet_pipe

_START_S = 20.0
_POLL_S = 0.002
_READ_ONLY_ROOT = "read-only-root"
_NEVER = {
    "syscall-filter": "only Firecracker's own filter is active",
    "apparmor": "there is no profile for Firecracker",
}
_NO_UID = "Firecracker's jailer, which gives machines users of their own, works for root only"


class HostVmm:
    """A confined Firecracker process, with what was taken of the host for it."""

    def __init__(
        self, process: VmmProcess, berth: Berth, runtime_dir: Path, allow_missing: frozenset[str]
    ) -> None:
        """Take over a started process."""
        self._process = process
        self._berth = berth
        self._runtime_dir = runtime_dir
        self._allow_missing = allow_missing

    @property
    def pid(self) -> int:
        """Process id of Firecracker; known for certain once `jail` was called."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.alive

    def cpu_s(self) -> float:
        """Return the CPU time that it has used."""
        return self._process.cpu_s()

    def jail(self, room: Room, template: TemplateMemory | None) -> Jail:
        """Read the layers back from the kernel; refuse those below the minimum."""
        self._process.find_program()
        jail = read_jail(
            self.pid,
            sealed_memory=None if template is None else template.sealed,
            runtime_private=make_private(self._runtime_dir),
            berth=self._berth,
        )
        jail = replace(jail, missing={**jail.missing, **self._reasons(jail)})
        if template is not None and template.inside is not None:
            problem = room.why_not_read_only(template.inside)
            if self._berth.lease is None:
                problem = problem or _mount_problem(self.pid)
            jail = _with(jail, SEALED_TEMPLATE, problem)
        require_minimum(jail, allow_missing=self._allow_missing, clone=template is not None)
        return jail

    def _reasons(self, jail: Jail) -> dict[str, str]:
        """Return why layers are missing that Firecracker never has, where they are."""
        reasons = dict(_NEVER)
        if self._berth.lease is not None:
            reasons[_READ_ONLY_ROOT] = "the jailer's chroot belongs to the machine's own user"
        return {layer: why for layer, why in reasons.items() if layer in jail.missing}

    async def last_words(self) -> str:
        """Return the end of what it wrote."""
        return await self._process.last_words()

    async def end(self) -> None:
        """Kill it, wait until it is gone, remove its cgroup."""
        await self._process.end()
        await self._berth.cgroup.remove()


class HostLauncher:
    """Starts confined Firecrackers on this host."""

    def __init__(
        self, programs: Programs, cache_dir: Path, runtime_dir: Path, allow_missing: frozenset[str]
    ) -> None:
        """Keep what is started, where things lie, and which jail layers are waived."""
        self._programs = programs
        self._rooms = cache_dir / "firecracker" / "machines"
        self._runtime_dir = runtime_dir
        self._allow_missing = allow_missing
        self._undertaker = Undertaker()
        self._cgroups = Cgroups(self._undertaker.mark)
        self._ready = False

    def close(self) -> None:
        """Let go of what watches over the machines."""
        self._undertaker.close()

    async def launch(self, shape: Shape) -> Launched:
        """Start Firecracker in its jail; returns once it has answered."""
        await run_sync(self._prepare)
        berth = self._berth(shape)
        try:
            room = self._room(berth)
        except BaseException:
            berth.disembark()
            await berth.cgroup.remove()
            raise
        try:
            return await self._start(shape, berth, room)
        except BaseException:
            with anyio.CancelScope(shield=True):
                room.close()
                await berth.cgroup.remove()
            raise

    def _prepare(self) -> None:
        """Once: remove what killed processes left, and check the place."""
        if self._ready:
            return
        self._rooms.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not make_private(self._rooms):
            raise HypervisorUnavailable(
                f"others may enter {self._rooms}, so machines cannot be kept there",
                hint=f"chmod 700 {self._rooms}",
            )
        if self._programs.jailer is not None and _forbids_devices(self._rooms):
            raise HypervisorUnavailable(
                f"{self._rooms} lies on a file system mounted nodev, where the jailer cannot make "
                "the machine's /dev/kvm",
                hint="set LUMINAGUARD_CACHE_DIR to another place",
            )
        sweep(self._rooms)
        self._ready = True

    def _berth(self, shape: Shape) -> Berth:
        lease = lease_uid() if self._programs.jailer is not None else None
        return Berth(
            cgroup=self._cgroups.make(shape.cgroup_limits),
            lease=lease,
            no_uid=None if lease is not None else _NO_UID,
        )

    def _room(self, berth: Berth) -> Room:
        name = f"{self._undertaker.mark}-{secrets.token_hex(8)}"
        top = self._rooms / self._programs.firecracker.name / name
        return Room(top, top / "root", None if berth.lease is None else berth.lease.uid)

    async def _start(self, shape: Shape, berth: Berth, room: Room) -> Launched:
        log = Tail(room.pipe(LOG))
        metrics = MetricsTail(room.pipe(METRICS))
        self._undertaker.start(self._cgroups.parents)
        start = Start(
            programs=self._programs,
            id=room.root.parent.name,
            mark=self._undertaker.mark,
            root=room.root,
            limits=shape.limits,
            uid=None if berth.lease is None else berth.lease.uid,
            joins=berth.cgroup.joins,
        )
        try:
            process = await _run(start, berth.inherited)
        except BaseException:
            log.close()
            metrics.close()
            raise
        finally:  # the process has its own hold on its uid
            berth.disembark()
        launched = Launched(
            vmm=HostVmm(process, berth, self._runtime_dir, self._allow_missing),
            room=room,
            api=ApiClient(lambda: room.connect(API_SOCKET)),
            log=log,
            metrics=metrics,
        )
        try:
            await greet(launched, start.id)
        except BaseException:
            await launched.end()
            raise
        return launched


async def greet(launched: Launched, id: str) -> None:  # noqa: A002 - as the API calls it
    """Wait until a fresh Firecracker answers under its id; set up its log and metrics.

    Raises:
        GuestLost: it ended, did not answer in time, or somebody else answered.
    """
    api = launched.api
    try:
        with anyio.fail_after(_START_S):
            while True:
                try:
                    info = await api.describe()
                    break
                except ApiLost:
                    if not launched.vmm.alive:
                        raise
                    await anyio.sleep(_POLL_S)
        if info.id != id:
            raise GuestLost("another Firecracker answers on this one's socket")
        level = LogLevel.WARNING
        await api.put_logger(Logger(log_path=f"{WRITABLE}/{LOG}", level=level, show_level=True))
        await api.put_metrics(Metrics(metrics_path=f"{WRITABLE}/{METRICS}"))
    except TimeoutError:
        raise GuestLost(f"Firecracker did not answer within {_START_S:g} s") from None
    except ApiLost as lost:
        if launched.vmm.alive:
            raise
        words = await launched.words()
        raise GuestLost(f"Firecracker ended at its start: {words}", words=words) from lost


async def _run(start: Start, inherited: tuple[int, ...]) -> VmmProcess:
    """Start the confined process; returns once it exists.

    Raises:
        GuestLost: the confinement could not be set up; the message holds the reason given.
        HypervisorUnavailable: this host refuses namespaces.
    """
    report, report_end = os.pipe()
    try:
        try:
            process = _spawn(start, inherited, report_end)
        finally:
            os.close(report_end)
        try:
            # Not to be cancelled half way: what is not known yet cannot be ended for certain.
            with anyio.fail_after(_START_S, shield=True):
                await process.identify(report, reported=True)
        except BaseException as problem:
            with anyio.CancelScope(shield=True):
                await process.end()
            _explain(problem)
            raise
    finally:
        os.close(report)
    return process


def _spawn(start: Start, inherited: tuple[int, ...], report_end: int) -> VmmProcess:
    arguments = confined(start, report_fd=report_end)
    messages, messages_end = quiet_pipe()
    try:
        monitor = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=messages_end,  # the guest's serial line, which is silent unless asked for
            stderr=messages_end,
            env={},
            cwd="/",
            start_new_session=True,  # a Ctrl-C on the terminal is for LuminaGuard to act on
            pass_fds=(*inherited, report_end),
        )
    except OSError as problem:
        os.close(messages)
        raise VmError(f"Firecracker could not be started: {problem.strerror}") from problem
    finally:
        os.close(messages_end)
    return VmmProcess(monitor, messages)


def _explain(problem: BaseException) -> None:
    """Raise what a failed confinement means, if that is what `problem` tells of."""
    if isinstance(problem, TimeoutError):
        raise GuestLost("Firecracker's confinement was not set up in time") from problem
    if isinstance(problem, GuestLost):
        words = str(problem.context.get("words", problem))
        if "bwrap:" in words:
            raise namespaces_refused(words) from problem
        raise GuestLost(f"Firecracker was not started: {words}", words=words) from problem


def _with(jail: Jail, layer: str, problem: str | None) -> Jail:
    layers = [name for name in jail.layers if name != layer]
    missing = {name: why for name, why in jail.missing.items() if name != layer}
    if problem is None:
        layers.append(layer)
    else:
        missing[layer] = problem
    return Jail(layers=tuple(layers), missing=missing)


def _mount_problem(pid: int) -> str | None:
    """Return why the process could write to `/ro`; None when its mount forbids that."""
    with suppress(OSError, IndexError):
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as source:
            mounts = [line.split() for line in source]
        options = [words[5].split(",") for words in mounts if words[4] == READ_ONLY]
        if options and "ro" in options[-1]:
            return None
    return "the template's memory can be written"


def _forbids_devices(directory: Path) -> bool:
    if sys.platform != "linux":
        return False
    return bool(os.statvfs(directory).f_flag & os.ST_NODEV)
