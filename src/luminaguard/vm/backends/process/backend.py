"""Machines of confined processes: the host's kernel, shared, and walls inside it."""

import time
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import GuestHardening, Isolation, Tier
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.process.host import (
    Bubblewrap,
    find_bubblewrap,
    require_namespaces,
)
from luminaguard.vm.backends.process.jail import LANDLOCK, MINIMUM, read_process_jail
from luminaguard.vm.backends.process.launch import Order, Processes
from luminaguard.vm.backends.process.machine import ProcessEngine, ProcessMachine
from luminaguard.vm.backends.process.spaces import NO_UID, make_space
from luminaguard.vm.confinement.berth import Berth
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.readback import require_layers
from luminaguard.vm.directories import make_private
from luminaguard.vm.hypervisor import Probe
from luminaguard.vm.room import Room
from luminaguard.vm.rooted import RootedHypervisor
from luminaguard.vm.spec import VmSpec
from luminaguard.vm.trial import require_image, trial_spec

_BOOT_LIMIT_S = 30.0
_MIB = 1024 * 1024
_BESIDE_COMMANDS_BYTES = 128 * _MIB
"""Resident memory of the agent, its box and bubblewrap."""
_BESIDE_COMMANDS = 32
"""Processes of the same."""
_ACCELERATOR = "bubblewrap"


class ProcessHypervisor(RootedHypervisor):
    """Makes machines with bubblewrap."""

    name = "process"
    _no_templates = "processes are not saved as templates: machines are booted for every use"

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

        `copying`: work on copies even where the kernel could do overlays.
        """
        super().__init__(cache_dir, runtime_dir, allow_missing=allow_missing, image=image)
        self._copying = copying
        self._bubblewrap: Bubblewrap | None = None
        self._probe: Probe | None = None
        self._opening = anyio.Lock()

    async def probe(self) -> Probe:
        """Start a machine, and end it.

        Raises:
            HypervisorUnavailable: with the missing piece and the command that mends it.
        """
        bubblewrap = await self._program()
        image = require_image(self._image)
        if self._probe is None:
            async with await self.boot(trial_spec(image)):
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

    async def _start(self, spec: VmSpec) -> ProcessMachine:
        bubblewrap = await self._program()
        root = await self._roots.of(spec.image)
        private = await run_sync(make_private, self._runtime_dir)
        space = await run_sync(make_space)
        cgroup = self._cgroup(_limits(spec))
        room: Room | None = None
        processes: Processes | None = None
        try:
            room = Room(await self._home(), space.owner)
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
            await processes.greet(_BOOT_LIMIT_S)
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

    def _isolation(
        self, pid: int, spec: VmSpec, berth: Berth, *, runtime_private: bool
    ) -> Isolation:
        jail = read_process_jail(pid, runtime_private=runtime_private, berth=berth)
        require_layers(jail, MINIMUM, allow_missing=self._allow_missing)
        lsm = LANDLOCK if LANDLOCK in jail.layers else "none"
        return Isolation(
            backend=self.name,
            tier=Tier.PROCESS,
            accelerator=_ACCELERATOR,
            jail=jail,
            guest=GuestHardening(profile=spec.profile.name, lsm=lsm),
        )

    async def _program(self) -> Bubblewrap:
        """Return bubblewrap; the first time, see that it can work."""
        async with self._opening:
            if self._bubblewrap is None:
                found = await run_sync(find_bubblewrap)
                await run_sync(require_namespaces)
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
