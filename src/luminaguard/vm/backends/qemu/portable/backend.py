"""QEMU's machines on systems without Linux's means: booted one by one, never saved.

Nothing here shares a guest's memory. QEMU could map a saved memory file privately on macOS as well,
but nothing there seals it, and nobody tried; on Windows its accelerator blocks saving altogether.
Source: QEMU, target/i386/whpx and hw/intc/arm_gicv3_whpx.c, migration blockers.
"""

import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import Isolation
from luminaguard.errors import (
    BootTimeout,
    GuestLost,
    HypervisorUnavailable,
    TemplateError,
    VmError,
)
from luminaguard.image.image import GuestImage
from luminaguard.vm.agentfiles import agent_archive
from luminaguard.vm.architecture import host_architecture
from luminaguard.vm.backends.qemu.accelerator import (
    Accelerator,
    accelerator_names,
    by_name,
    candidates_for,
    find_accelerator,
)
from luminaguard.vm.backends.qemu.command import Shape
from luminaguard.vm.backends.qemu.portable.command import Wiring, boot_command
from luminaguard.vm.backends.qemu.portable.engine import PortableEngine
from luminaguard.vm.backends.qemu.portable.jail import portable_jail
from luminaguard.vm.backends.qemu.portable.places import find_portable_qemu
from luminaguard.vm.backends.qemu.portable.process import PlainProcess
from luminaguard.vm.backends.qemu.portable.transport import Line, make_line
from luminaguard.vm.backends.qemu.qmp import Qmp
from luminaguard.vm.backends.qemu.version import qemu_version
from luminaguard.vm.bootfiles import boot_files
from luminaguard.vm.channel import Channel
from luminaguard.vm.confinement.readback import require_minimum
from luminaguard.vm.console import last_lines
from luminaguard.vm.directories import make_private
from luminaguard.vm.engine import EngineMachine
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.hypervisor import Capabilities, Probe, Template
from luminaguard.vm.probecache import ProbeCache, host_identity
from luminaguard.vm.slots import CONSOLE, PrivateDirectory, sweep
from luminaguard.vm.spec import VmSpec
from luminaguard.vm.trial import require_image

_GREETING_LIMIT_S = 20.0
_CONSOLE_LIMIT_S = 20.0
_CONSOLE_POLL_S = 0.05
_MESSAGES = "messages"


class PortableQemu:
    """Makes micro-VMs with QEMU, on macOS above all."""

    name = "qemu"
    capabilities = Capabilities(snapshots=False, pause=True, swap_disks=True)

    def __init__(
        self,
        cache_dir: Path,
        runtime_dir: Path,
        *,
        allow_missing: frozenset[str] = frozenset(),
        image: GuestImage | None = None,
        accelerators: tuple[Accelerator, ...] | None = None,
        lines: Callable[[], Line] = make_line,
    ) -> None:
        """Keep where things lie.

        Args:
            cache_dir: Boot files and the probe's result.
            runtime_dir: Private directory of this user's running LuminaGuard.
            allow_missing: Jail layers that the user's configuration waives, by name.
            image: What `probe` boots.
            accelerators: What to try. Default: what this system may have.
            lines: Makes the streams to a QEMU.
        """
        self._cache_dir = cache_dir
        self._parent = runtime_dir / "qemu"
        self._allow_missing = allow_missing
        self._image = image
        self._accelerators = accelerators
        self._lines = lines
        self._probe: Probe | None = None

    def close(self) -> None:
        """Nothing is kept that would need closing."""

    async def probe(self) -> Probe:
        """Find the best accelerator by booting on it; remembered until the host changes."""
        return await self._probe_with(VmSpec(image=require_image(self._image)))

    async def boot(self, spec: VmSpec) -> EngineMachine:
        """Boot a machine from its image; returns once the guest answered."""
        probe = await self._probe_with(spec)
        return await self._boot(spec, by_name(probe.accelerator))

    async def template(self, spec: VmSpec) -> Template:
        """Refuse.

        Raises:
            HypervisorUnavailable: always.
        """
        raise HypervisorUnavailable(
            f"QEMU's machines are not saved on {sys.platform}: {spec.image.directory.name}",
            hint="boot machines ahead of use instead",
        )

    async def restore(self, template: Template) -> EngineMachine:
        """Refuse.

        Raises:
            TemplateError: always.
        """
        raise TemplateError(f"QEMU's machines are not restored on {sys.platform}: {template.key}")

    async def _probe_with(self, spec: VmSpec) -> Probe:
        if self._probe is None:
            self._require_system()
            binary = find_portable_qemu(host_architecture())
            await run_sync(sweep, self._parent)
            self._cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            cache = ProbeCache(self._cache_dir / "qemu-portable-probe.json", accelerator_names())
            version = await run_sync(qemu_version, binary)
            identity = host_identity(binary, version, *sorted(self._allow_missing))
            self._probe = cache.read(identity)
            if self._probe is None:
                self._probe = await self._try(spec, version)
                cache.write(identity, self._probe)
        return self._probe

    async def _try(self, spec: VmSpec, version: str) -> Probe:
        async def attempt(accelerator: Accelerator) -> str | None:
            try:
                async with await self._boot(spec, accelerator) as machine:
                    await machine.exercise()
            except HypervisorUnavailable:
                raise
            except VmError as problem:
                return str(problem)
            return None

        candidates = self._accelerators or candidates_for(sys.platform, host_architecture())
        return await find_accelerator(attempt, version=version, candidates=candidates)

    def _require_system(self) -> None:
        if sys.platform == "win32":
            raise HypervisorUnavailable(
                "LuminaGuard's workspaces are not ported to Windows yet",
                hint="run LuminaGuard inside WSL 2",
            )

    async def _boot(self, spec: VmSpec, accelerator: Accelerator) -> EngineMachine:
        started_s = time.perf_counter()
        shape = _shape(spec, accelerator)
        isolation = await run_sync(self._isolation, shape)
        engine, client = await self._start(spec, shape, console=False)
        try:
            await client.hello(accelerator.boot_limit_s)
        except BaseException as problem:
            client.close()
            with anyio.CancelScope(shield=True):
                await engine.end()
            if not isinstance(problem, GuestLost):
                raise
            console = await self._console_of(spec, shape)
            raise BootTimeout(
                f"the guest did not come up ({problem}); its console, booted once more, ended "
                f"with:\n{console}",
                hint="luminaguard doctor",
            ) from problem
        machine = EngineMachine(engine, client, isolation)
        machine.ready((time.perf_counter() - started_s) * 1000)
        return machine

    async def _console_of(self, spec: VmSpec, shape: Shape) -> str:
        """Boot once more with a console, and return what it showed last."""
        try:
            engine, client = await self._start(spec, shape, console=True)
        except VmError as problem:
            return f"({problem})"
        try:
            with anyio.move_on_after(min(_CONSOLE_LIMIT_S, shape.accelerator.boot_limit_s)):
                while engine.alive:  # noqa: ASYNC110 - nobody tells of its end
                    await anyio.sleep(_CONSOLE_POLL_S)
            return await run_sync(last_lines, engine.directory.path / CONSOLE)
        finally:
            client.close()
            with anyio.CancelScope(shield=True):
                await engine.end()

    async def _start(
        self, spec: VmSpec, shape: Shape, *, console: bool
    ) -> tuple[PortableEngine, GuestClient]:
        """Start a QEMU and take hold of it; its guest need not be up."""
        kernel, initrd = await run_sync(
            lambda: boot_files(
                self._cache_dir / "qemu-boot", spec.image, spec.profile, agent_archive()
            )
        )
        async with AsyncExitStack() as undo:
            directory = await run_sync(PrivateDirectory.make, self._parent, shape.disk_limit_bytes)
            undo.callback(directory.remove)
            with closing(self._lines()) as control, closing(self._lines()) as agent:
                wiring = Wiring(
                    control=control.option,
                    agent=agent.option,
                    kernel=kernel,
                    initrd=initrd,
                    root=spec.image.rootfs,
                    console=directory.path / CONSOLE if console else None,
                )
                inherited = [fd for fd in (control.inherited, agent.inherited) if fd is not None]
                process = PlainProcess(
                    boot_command(shape, wiring), inherited, directory.path / _MESSAGES
                )
                undo.push_async_callback(_shielded_end, process)
                await run_sync(process.watch, shape.memory_bytes)
                qmp, client = await _connect(process, control, agent)
            undo.pop_all()
        engine = PortableEngine(
            process=process, qmp=qmp, directory=directory, slot_bytes=shape.disk_limit_bytes
        )
        return engine, client

    def _isolation(self, shape: Shape) -> Isolation:
        jail = portable_jail(sys.platform, runtime_private=make_private(self._parent.parent))
        require_minimum(jail, allow_missing=self._allow_missing, clone=False)
        return Isolation(
            backend=self.name,
            tier=shape.accelerator.tier,
            accelerator=shape.accelerator.name,
            jail=jail,
            guest=shape.profile.stamp,
        )


async def _connect(process: PlainProcess, control: Line, agent: Line) -> tuple[Qmp, GuestClient]:
    """Take hold of both streams; QEMU connects them in the order of its command line."""
    qmp = Qmp()
    async with AsyncExitStack() as undo:
        try:
            with anyio.fail_after(_GREETING_LIMIT_S):
                host_end = await control.connected(process.pid)
                undo.callback(host_end.close)
                agent_end = await agent.connected(process.pid)
                undo.callback(agent_end.close)
                control.close()
                agent.close()
                await qmp.connect(host_end)
        except (GuestLost, TimeoutError) as lost:
            raise GuestLost(f"QEMU did not start: {process.last_words()}") from lost
        undo.pop_all()
    return qmp, GuestClient(Channel(agent_end))


async def _shielded_end(process: PlainProcess) -> None:
    with anyio.CancelScope(shield=True):
        await process.end()


def _shape(spec: VmSpec, accelerator: Accelerator) -> Shape:
    return Shape(
        binary=find_portable_qemu(host_architecture()),
        accelerator=accelerator,
        memory_mib=spec.memory_mib,
        vcpus=spec.vcpus,
        disk_limit_bytes=spec.disk_limit_bytes,
        profile=spec.profile,
    )
