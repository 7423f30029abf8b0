"""Machines of confined processes: the host's kernel, shared, and walls inside it."""

import time
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import GuestHardening, Isolation, Tier
from luminaguard.errors import BootTimeout, GuestLost, HypervisorUnavailable, TemplateError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.process.host import (
    Bubblewrap,
    find_bubblewrap,
    require_namespaces,
)
from luminaguard.vm.backends.process.jail import LANDLOCK, MINIMUM, read_process_jail
from luminaguard.vm.backends.process.launch import Order, Processes
from luminaguard.vm.backends.process.machine import ProcessEngine, ProcessMachine
from luminaguard.vm.backends.process.room import Room
from luminaguard.vm.backends.process.spaces import NO_UID, make_space
from luminaguard.vm.confinement.berth import Berth
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.cgroups.machine import Cgroups
from luminaguard.vm.confinement.undertaker import Undertaker
from luminaguard.vm.directories import make_private
from luminaguard.vm.hypervisor import Capabilities, Probe, Template
from luminaguard.vm.owned import make_owned, remove_dead
from luminaguard.vm.roots import Roots
from luminaguard.vm.spec import VmSpec

_BOOT_LIMIT_S = 30.0
_PROBE_MEMORY_MIB = 256
_MIB = 1024 * 1024
_BESIDE_COMMANDS_BYTES = 128 * _MIB
"""Resident memory of the agent, its box and bubblewrap."""
_BESIDE_COMMANDS = 32
"""Processes of the same."""
_ACCELERATOR = "bubblewrap"
_NO_TEMPLATES = "processes are not saved as templates: machines are booted for every use"


class ProcessHypervisor:
    """Makes machines with bubblewrap."""

    name = "process"
    capabilities = Capabilities(snapshots=False, pause=True, swap_disks=True)

    def __init__(
        self,
        cache_dir: Path,
        runtime_dir: Path,
        *,
        allow_missing: frozenset[str] = frozenset(),
        image: GuestImage | None = None,
        copying: bool = False,
    ) -> None:
        """Keep where things lie.

        Args:
            cache_dir: Unpacked guest images.
            runtime_dir: Private directory of this user's running LuminaGuard.
            allow_missing: Jail layers that the user's configuration waives, by name.
            image: What `probe` starts.
            copying: Work on copies even where the kernel could do overlays.
        """
        self._runtime_dir = runtime_dir
        self._rooms = runtime_dir / "process"
        self._allow_missing = allow_missing
        self._image = image
        self._copying = copying
        self._roots = Roots(cache_dir)
        self._undertaker = Undertaker()
        self._cgroups = Cgroups(self._undertaker.mark)
        self._bubblewrap: Bubblewrap | None = None
        self._probe: Probe | None = None
        self._opening = anyio.Lock()

    def close(self) -> None:
        """Let go of the watch over machines and of their root: end those first."""
        self._undertaker.close()
        self._roots.close()
        self._roots.close()

    async def probe(self) -> Probe:
        """Start a machine, and end it.

        Raises:
            HypervisorUnavailable: with the missing piece and the command that mends it.
        """
        bubblewrap = await self._program()
        if self._image is None:
            raise HypervisorUnavailable(
                "there is no guest image to try this host with", hint="luminaguard image build"
            )
        if self._probe is None:
            spec = VmSpec(image=self._image, memory_mib=_PROBE_MEMORY_MIB)
            async with await self.boot(spec):
                pass
            self._probe = Probe(
                tier=Tier.PROCESS, accelerator=_ACCELERATOR, version=bubblewrap.version
            )
        return self._probe

    async def boot(self, spec: VmSpec) -> ProcessMachine:
        """Start an agent over the image's root; returns once it answered."""
        started_s = time.perf_counter()
        machine = await self._start(spec)
        machine.ready((time.perf_counter() - started_s) * 1000)
        return machine

    async def template(self, spec: VmSpec) -> Template:
        """Refuse.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        raise TemplateError(_NO_TEMPLATES, image=spec.image.digest)

    async def restore(self, template: Template) -> ProcessMachine:
        """Refuse.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        raise TemplateError(_NO_TEMPLATES, key=template.key)

    async def _start(self, spec: VmSpec) -> ProcessMachine:
        bubblewrap = await self._program()
        root = await self._roots.of(spec.image)
        private = await run_sync(make_private, self._runtime_dir)
        space = await run_sync(make_space)
        cgroup = self._cgroups.make(_limits(spec))
        self._undertaker.start(self._cgroups.parents)
        room: Room | None = None
        processes: Processes | None = None
        try:
            own = await run_sync(make_owned, self._rooms, f"{self._undertaker.mark}-")
            room = Room(own, space.owner)
            await run_sync(room.write, spec.profile)
            order = Order(
                bubblewrap=bubblewrap,
                name=room.name,
                root=root,
                shown=room.shown,
                joins=cgroup.joins,
                namespace=space.namespace,
                command_uid=space.command_uid,
                copying=self._copying,
                data_bytes=None if cgroup.joins else spec.memory_mib * _MIB,
            )
            processes = Processes.start(order)
            await self._greet(processes)
            space.let_go()
            berth = Berth(cgroup=cgroup, lease=space.agent, no_uid=NO_UID)
            isolation = self._isolation(processes.pid, spec, berth, runtime_private=private)
        except BaseException:
            with anyio.CancelScope(shield=True):
                if processes is not None:
                    await processes.end()
                await cgroup.remove()
                if room is not None:
                    await run_sync(room.remove)
                space.close()
            raise
        engine = ProcessEngine(processes, room, space, cgroup, spec)
        return ProcessMachine(engine, processes, isolation)

    async def _greet(self, processes: Processes) -> None:
        try:
            await processes.client.hello(_BOOT_LIMIT_S)
        except GuestLost as lost:
            words = processes.last_words()
            if processes.alive:
                raise BootTimeout(f"the agent did not answer: {words}") from lost
            raise GuestLost(f"the agent did not start: {words}", words=words) from lost
        processes.find()

    def _isolation(
        self, pid: int, spec: VmSpec, berth: Berth, *, runtime_private: bool
    ) -> Isolation:
        jail = read_process_jail(pid, runtime_private=runtime_private, berth=berth)
        lacking = sorted((MINIMUM & jail.missing.keys()) - self._allow_missing)
        if lacking:
            reasons = "; ".join(f"{layer}: {jail.missing[layer]}" for layer in lacking)
            raise HypervisorUnavailable(
                f"the machine's jail is below the minimum ({reasons})",
                hint=f"mend it, or accept the risk by naming {', '.join(lacking)} in the "
                "configuration",
                layers=lacking,
            )
        lsm = LANDLOCK if LANDLOCK in jail.layers else "none"
        return Isolation(
            backend=self.name,
            tier=Tier.PROCESS,
            accelerator=_ACCELERATOR,
            jail=jail,
            guest=GuestHardening(profile=spec.profile.name, lsm=lsm),
        )

    async def _program(self) -> Bubblewrap:
        """Return bubblewrap; the first time, see that it can work and clear up after the dead."""
        async with self._opening:
            if self._bubblewrap is None:
                found = await run_sync(find_bubblewrap)
                await run_sync(require_namespaces)
                await run_sync(remove_dead, self._rooms)
                self._bubblewrap = found
        return self._bubblewrap


def _limits(spec: VmSpec) -> CgroupLimits:
    """Return what the cgroup allows: the commands' memory, and as much for what they write."""
    return CgroupLimits(
        memory_bytes=2 * spec.memory_mib * _MIB + _BESIDE_COMMANDS_BYTES,
        processes=spec.profile.shares.processes + _BESIDE_COMMANDS,
        cpus=float(spec.vcpus),
        weight=100 * spec.vcpus,
    )
