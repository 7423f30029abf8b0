"""The gVisor hypervisor: a kernel in a program, near native speed where nothing virtualizes."""

import os
import time
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import GuestHardening, Isolation, Tier
from luminaguard.errors import (
    BootTimeout,
    GuestLost,
    HypervisorUnavailable,
    TemplateError,
    VmError,
)
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.gvisor import statx
from luminaguard.vm.backends.gvisor.bundle import Bundle
from luminaguard.vm.backends.gvisor.jail import MINIMUM, read_sandbox_jail
from luminaguard.vm.backends.gvisor.machine import GvisorMachine
from luminaguard.vm.backends.gvisor.runsc import Runsc, find_runsc
from luminaguard.vm.backends.gvisor.sandbox import THREADS, Order, Sandbox
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.cgroups.machine import Cgroups
from luminaguard.vm.confinement.undertaker import Undertaker
from luminaguard.vm.directories import make_private
from luminaguard.vm.hypervisor import Capabilities, Probe, Template
from luminaguard.vm.linux import user_id
from luminaguard.vm.owned import OwnedDirectory, make_owned, remove_dead
from luminaguard.vm.probecache import ProbeCache, host_identity
from luminaguard.vm.roots import Roots
from luminaguard.vm.spec import GUEST_UID, VmSpec

_BOOT_LIMIT_S = 60.0
_PROBE_LIMIT_S = 10.0
_PROBE_MEMORY_MIB = 256
_BESIDE_GUEST_BYTES = 512 * 1024**2
"""Resident memory of sentry and gofer themselves, and files that they keep in memory."""
_PROBE_FILE = "gvisor-probe.json"
_PLATFORMS = frozenset({"kvm", "systrap", "ptrace"})
_HOMES = "gvisor"
"""Directory of the machines' directories, in the runtime directory."""
_NO_TEMPLATES = "gVisor keeps no templates: its machines are booted for every use"


class GvisorHypervisor:
    """Makes machines with runsc."""

    name = "gvisor"
    capabilities = Capabilities(snapshots=False, pause=True, swap_disks=True)

    def __init__(
        self,
        cache_dir: Path,
        runtime_dir: Path,
        *,
        allow_missing: frozenset[str] = frozenset(),
        image: GuestImage | None = None,
        probe_limit_s: float = _PROBE_LIMIT_S,
    ) -> None:
        """Keep where things lie.

        Args:
            cache_dir: Unpacked guest images, and the probe's result.
            runtime_dir: Private directory of this user's running LuminaGuard.
            allow_missing: Jail layers that the user's configuration waives, by name.
            image: What `probe` boots.
            probe_limit_s: Longest that a guest may take to come up on a platform that is tried.
        """
        self._cache_dir = cache_dir
        self._runtime_dir = runtime_dir
        self._allow_missing = allow_missing
        self._image = image
        self._probe_limit_s = probe_limit_s
        self._roots = Roots(cache_dir)
        self._homes = runtime_dir / _HOMES
        self._swept = False
        self._undertaker = Undertaker()
        self._cgroups = Cgroups(self._undertaker.mark)
        self._runsc: Runsc | None = None
        self._probe: Probe | None = None
        self._probing = anyio.Lock()

    def close(self) -> None:
        """Let go of the watch over machines: end those first."""
        self._undertaker.close()
        self._roots.close()

    async def probe(self) -> Probe:
        """Find the platform that a guest boots on; remembered until the host changes.

        Raises:
            HypervisorUnavailable: with the missing piece and the command that mends it.
        """
        if self._image is None:
            await self._program()
            raise HypervisorUnavailable(
                "there is no guest image to try this host with", hint="luminaguard image build"
            )
        return await self._probed(self._image)

    async def boot(self, spec: VmSpec) -> GvisorMachine:
        """Start a sandbox over the image's root; returns once the guest answered."""
        started_s = time.perf_counter()
        probe = await self._probed(spec.image)
        machine = await self._start(spec, probe.accelerator, _BOOT_LIMIT_S)
        machine.ready((time.perf_counter() - started_s) * 1000)
        return machine

    async def template(self, spec: VmSpec) -> Template:
        """Refuse.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        raise TemplateError(_NO_TEMPLATES, image=spec.image.digest)

    async def restore(self, template: Template) -> GvisorMachine:
        """Refuse.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        raise TemplateError(_NO_TEMPLATES, key=template.key)

    async def _start(self, spec: VmSpec, platform: str, limit_s: float) -> GvisorMachine:
        runsc = await self._program()
        root = await self._root(spec.image)
        private = await run_sync(make_private, self._runtime_dir)
        home = await run_sync(self._home)
        bundle = Bundle(directory=home.path, uid=GUEST_UID if user_id() == 0 else 0)
        cgroup = self._cgroups.make(_limits(spec))
        self._undertaker.start(self._cgroups.parents)
        order = Order(runsc=runsc, platform=platform, home=home, bundle=bundle, cgroup=cgroup)
        sandbox: Sandbox | None = None
        try:
            await run_sync(bundle.write, root, spec.profile)
            sandbox = Sandbox.start(order)
            await self._greet(sandbox, limit_s)
            isolation = self._isolation(sandbox, spec, platform, runtime_private=private)
        except BaseException:
            with anyio.CancelScope(shield=True):
                if sandbox is not None:
                    await sandbox.end()
                await cgroup.remove()
                await run_sync(home.remove)
            raise
        return GvisorMachine(sandbox, bundle, isolation, spec)

    async def _root(self, image: GuestImage) -> Path:
        if not statx.needed():
            return await self._roots.of(image)
        return await self._roots.of(image, variant=statx.VARIANT, addition=statx.install)

    def _home(self) -> OwnedDirectory:
        """Return a new machine's directory; the first time, remove those of killed LuminaGuards."""
        if not self._swept:
            remove_dead(self._homes)
            self._swept = True
        return make_owned(self._homes, f"{self._undertaker.mark}-")

    async def _greet(self, sandbox: Sandbox, limit_s: float) -> None:
        try:
            await sandbox.client.hello(limit_s)
        except GuestLost as lost:
            words = sandbox.last_words()
            if sandbox.alive:
                raise BootTimeout(f"the sandbox did not answer: {words}") from lost
            raise GuestLost(f"the sandbox did not start: {words}", words=words) from lost
        sandbox.find_processes()

    def _isolation(
        self, sandbox: Sandbox, spec: VmSpec, platform: str, *, runtime_private: bool
    ) -> Isolation:
        jail = read_sandbox_jail(
            sandbox.pid, runtime_private=runtime_private, cgroup=sandbox.cgroup
        )
        lacking = sorted((MINIMUM & jail.missing.keys()) - self._allow_missing)
        if lacking:
            reasons = "; ".join(f"{layer}: {jail.missing[layer]}" for layer in lacking)
            raise HypervisorUnavailable(
                f"the machine's jail is below the minimum ({reasons})",
                hint=f"mend it, or accept the risk by naming {', '.join(lacking)} in the "
                "configuration",
                layers=lacking,
            )
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
        spec = VmSpec(image=image, memory_mib=_PROBE_MEMORY_MIB)
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
