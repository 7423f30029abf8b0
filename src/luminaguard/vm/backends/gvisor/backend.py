"""The gVisor hypervisor: a kernel in a program, near native speed where nothing virtualizes."""

import os
import time
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import GuestHardening, Isolation, Tier
from luminaguard.errors import HypervisorUnavailable, VmError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.gvisor import statx
from luminaguard.vm.backends.gvisor.bundle import Bundle
from luminaguard.vm.backends.gvisor.jail import MINIMUM, read_sandbox_jail
from luminaguard.vm.backends.gvisor.machine import GvisorMachine
from luminaguard.vm.backends.gvisor.runsc import Runsc, find_runsc
from luminaguard.vm.backends.gvisor.sandbox import THREADS, Order, Sandbox
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.readback import require_layers
from luminaguard.vm.directories import make_private
from luminaguard.vm.hypervisor import Probe
from luminaguard.vm.linux import user_id
from luminaguard.vm.probecache import ProbeCache, host_identity
from luminaguard.vm.room import Room
from luminaguard.vm.rooted import RootedHypervisor
from luminaguard.vm.spec import GUEST_UID, VmSpec
from luminaguard.vm.trial import require_image, trial_spec

_BOOT_LIMIT_S = 60.0
_PROBE_LIMIT_S = 10.0
_BESIDE_GUEST_BYTES = 512 * 1024**2
"""Resident memory of sentry and gofer themselves, and files that they keep in memory."""
_PROBE_FILE = "gvisor-probe.json"
_PLATFORMS = frozenset({"kvm", "systrap", "ptrace"})


class GvisorHypervisor(RootedHypervisor):
    """Makes machines with runsc."""

    name = "gvisor"
    _no_templates = "gVisor keeps no templates: its machines are booted for every use"

    def __init__(
        self,
        cache_dir: Path,
        runtime_dir: Path,
        *,
        allow_missing: frozenset[str] = frozenset(),
        image: GuestImage | None = None,
        probe_limit_s: float = _PROBE_LIMIT_S,
    ) -> None:
        """Keep where things lie; the probe's result lies in `cache_dir` too.

        `probe_limit_s`: longest that a guest may take to come up on a platform that is tried.
        """
        super().__init__(cache_dir, runtime_dir, allow_missing=allow_missing, image=image)
        self._cache_dir = cache_dir
        self._probe_limit_s = probe_limit_s
        self._runsc: Runsc | None = None
        self._probe: Probe | None = None
        self._probing = anyio.Lock()

    async def probe(self) -> Probe:
        """Find the platform that a guest boots on; remembered until the host changes.

        Raises:
            HypervisorUnavailable: with the missing piece and the command that mends it.
        """
        await self._program()
        return await self._probed(require_image(self._image))

    async def boot(self, spec: VmSpec) -> GvisorMachine:
        """Start a sandbox over the image's root; returns once the guest answered."""
        started_s = time.perf_counter()
        probe = await self._probed(spec.image)
        machine = await self._start(spec, probe.accelerator, _BOOT_LIMIT_S)
        machine.ready((time.perf_counter() - started_s) * 1000)
        return machine

    async def _start(self, spec: VmSpec, platform: str, limit_s: float) -> GvisorMachine:
        runsc = await self._program()
        root = await self._root(spec.image)
        private = await run_sync(make_private, self._runtime_dir)
        room = Room(await self._home())
        uid = GUEST_UID if user_id() == 0 else 0
        bundle = Bundle(directory=room.directory, shown=room.shown, uid=uid)
        cgroup = self._cgroup(_limits(spec))
        order = Order(runsc=runsc, platform=platform, room=room, bundle=bundle, cgroup=cgroup)
        sandbox: Sandbox | None = None
        try:
            await run_sync(room.write, spec.profile)
            await run_sync(bundle.write, root, spec.profile)
            sandbox = Sandbox.start(order)
            await sandbox.greet(limit_s)
            isolation = self._isolation(sandbox, spec, platform, runtime_private=private)
        except BaseException:
            with anyio.CancelScope(shield=True):
                if sandbox is not None:
                    await sandbox.end()
                await cgroup.remove()
                await run_sync(room.remove)
            raise
        return GvisorMachine(sandbox, room, isolation, spec)

    async def _root(self, image: GuestImage) -> Path:
        if not statx.needed():
            return await self._roots.of(image)
        return await self._roots.of(image, variant=statx.VARIANT, addition=statx.install)

    def _isolation(
        self, sandbox: Sandbox, spec: VmSpec, platform: str, *, runtime_private: bool
    ) -> Isolation:
        jail = read_sandbox_jail(
            sandbox.pid, runtime_private=runtime_private, cgroup=sandbox.cgroup
        )
        require_layers(jail, MINIMUM, allow_missing=self._allow_missing)
        return Isolation(
            backend=self.name,
            tier=Tier.USERKERNEL,
            accelerator=platform,
            jail=jail,
            guest=GuestHardening(profile=spec.profile.name, lsm="none"),
        )

    async def _program(self) -> Runsc:
        if self._runsc is None:
            self._runsc = await run_sync(find_runsc)
        return self._runsc

    async def _probed(self, image: GuestImage) -> Probe:
        async with self._probing:
            if self._probe is None:
                runsc = await self._program()
                about = os.stat(runsc.path)
                identity = host_identity(
                    f"{runsc.path} {about.st_size} {about.st_mtime_ns} {user_id()}"
                )
                cache = ProbeCache(self._cache_dir / _PROBE_FILE, _PLATFORMS)
                self._probe = cache.read(identity)
                if self._probe is None:
                    self._probe = await self._try(image, runsc)
                    with suppress(OSError):  # then it is tried once more
                        await run_sync(cache.write, identity, self._probe)
            return self._probe

    async def _try(self, image: GuestImage, runsc: Runsc) -> Probe:
        spec = trial_spec(image)
        tried: list[tuple[str, str]] = []
        for platform in runsc.platforms:
            reason = _device_problem(platform)
            if reason is None:
                try:
                    machine = await self._start(spec, platform, self._probe_limit_s)
                except HypervisorUnavailable:
                    raise
                except VmError as problem:
                    reason = str(problem)
                else:
                    await machine.stop()
                    return _probe(platform, runsc, tuple(tried))
            tried.append((platform, reason))
        reasons = "; ".join(f"{name}: {reason}" for name, reason in tried)
        raise HypervisorUnavailable(
            f"no guest starts under runsc on this host ({reasons})", hint="use the qemu backend"
        )


def _probe(platform: str, runsc: Runsc, tried: tuple[tuple[str, str], ...]) -> Probe:
    return Probe(tier=Tier.USERKERNEL, accelerator=platform, version=runsc.version, tried=tried)


def _device_problem(platform: str) -> str | None:
    if platform == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm does not exist or may not be opened by this user"
    return None


def _limits(spec: VmSpec) -> CgroupLimits:
    return CgroupLimits(
        memory_bytes=spec.memory_mib * 1024**2 + _BESIDE_GUEST_BYTES,
        processes=THREADS,
        cpus=spec.vcpus + 1.0,
        weight=100 * spec.vcpus,
    )
