"""The Firecracker hypervisor: probe once, boot once, then clones from a snapshot."""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.calls import canonical_json
from luminaguard.domain.isolation import Isolation, Tier
from luminaguard.errors import (
    BootTimeout,
    GuestLost,
    HypervisorUnavailable,
    ImageError,
    TemplateError,
    VmError,
)
from luminaguard.image.image import GuestImage
from luminaguard.vm.agentfiles import agent_digest
from luminaguard.vm.backends.firecracker import start
from luminaguard.vm.backends.firecracker.api.faults import printable
from luminaguard.vm.backends.firecracker.files import BootFileStore
from luminaguard.vm.backends.firecracker.host import cpu_identity, find_programs, require_kvm
from luminaguard.vm.backends.firecracker.jail.launch import HostLauncher
from luminaguard.vm.backends.firecracker.launched import Launched, Launcher
from luminaguard.vm.backends.firecracker.machine import FirecrackerMachine, Origin
from luminaguard.vm.backends.firecracker.shape import shape_digest, shape_of
from luminaguard.vm.backends.firecracker.template import LoadedTemplate, MemoryMode, load_template
from luminaguard.vm.backends.firecracker.version import Version, program_version, require_known
from luminaguard.vm.hypervisor import Capabilities, Probe, Template
from luminaguard.vm.imagecheck import ImageCheck
from luminaguard.vm.probecache import ProbeCache, host_identity
from luminaguard.vm.spec import VmSpec
from luminaguard.vm.templates import TemplateStore
from luminaguard.vm.trial import require_image, trial_spec

_BOOT_LIMIT_S = 15.0
"""A guest that has not answered by then never will: with KVM it takes less than a second."""
_FIRST_ANSWER_LIMIT_S = 15.0
_CONSOLE_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this host runs Firecracker with."""

    identity: str
    """Changes with the programs."""
    version: Version
    launcher: Launcher


class FirecrackerHypervisor:
    """Makes micro-VMs with Firecracker.

    Keeps the files of each template that it used open until `close`.
    """

    name = "firecracker"
    capabilities = Capabilities(snapshots=True, pause=True, swap_disks=True)

    def __init__(
        self,
        cache_dir: Path,
        runtime_dir: Path,
        *,
        allow_missing: frozenset[str] = frozenset(),
        image: GuestImage | None = None,
        memory: MemoryMode = MemoryMode.FILE,
        host: Callable[[], Host] | None = None,
        check_image: Callable[[GuestImage], None] | None = None,
    ) -> None:
        """Keep where things lie.

        Args:
            cache_dir: Templates, boot files, machines' directories and the probe's result.
            runtime_dir: Private directory of this user's running LuminaGuard.
            allow_missing: Jail layers that the user's configuration waives, by name.
            image: What `probe` boots.
            memory: How clones get a template's memory.
            host: Finds what machines are started with; called once, in a thread.
            check_image: Refuses an image that is not what its digest says; default: by its hashes.
        """
        self._cache_dir = cache_dir
        self._image = image
        self._memory = memory
        self._files = BootFileStore(cache_dir, check_image or ImageCheck().require)
        self._find_host = host or (lambda: find_host(cache_dir, runtime_dir, allow_missing))
        self._found: Host | None = None
        self._store = TemplateStore(cache_dir / "firecracker")
        self._loaded: dict[str, LoadedTemplate] = {}
        self._loading = anyio.Lock()
        self._probe: Probe | None = None
        weakref.finalize(self, _let_go, self._loaded)

    def close(self) -> None:
        """Let go of the templates, and of the watch over machines: end those first."""
        if self._found is not None:
            self._found.launcher.close()
        _let_go(self._loaded)

    async def probe(self) -> Probe:
        """Boot a guest; remembered until the host changes.

        Raises:
            HypervisorUnavailable: with the missing piece and what mends it.
        """
        return await self._probe_with(require_image(self._image))

    async def boot(self, spec: VmSpec) -> FirecrackerMachine:
        """Boot a machine from its image; returns once the guest answered."""
        await self._probe_with(spec.image)
        return await self._boot(spec)

    async def template(self, spec: VmSpec) -> Template:
        """Return the verified template for `spec`, booting and saving it if there is none."""
        await self._probe_with(spec.image)
        key = self._key(spec, await self._host())
        template = Template(key=key, directory=self._store.path(key), spec=spec)
        if not await self._verifies(template):
            async with self._store.turn():
                if not await self._verifies(template):  # nobody made it meanwhile
                    await self._build(template)
                    await self._load(template)
        self._store.used(key)
        return template

    async def restore(self, template: Template) -> FirecrackerMachine:
        """Make a clone of a template; returns once the guest answered.

        Raises:
            TemplateError: the template is missing, stale or does not match its manifest.
        """
        started_s = time.perf_counter()
        spec = template.spec
        await self._probe_with(spec.image)
        host = await self._host()
        if self._key(spec, host) != template.key:
            raise TemplateError(
                "the template is stale: Firecracker, the image, the agent or the host has changed",
                hint="build it anew",
            )
        loaded = await self._load(template)
        files = await self._files.ready(spec.image, spec.profile)
        shape = shape_of(spec)
        launched = await host.launcher.launch(shape)
        try:
            guest = await start.wake(
                launched, shape, files.root, loaded, limit_s=_FIRST_ANSWER_LIMIT_S
            )
        except GuestLost as lost:
            raise TemplateError(
                f"the template does not wake up: {lost}; Firecracker: {await _parting(launched)}"
            ) from lost
        except BaseException:
            await launched.end()
            raise
        return _machine(launched, guest, spec, template.key, started_s)

    async def _boot(self, spec: VmSpec) -> FirecrackerMachine:
        started_s = time.perf_counter()
        host, shape = await self._host(), shape_of(spec)
        files = await self._files.ready(spec.image, spec.profile)
        launched = await host.launcher.launch(shape)
        try:
            guest = await start.boot(launched, shape, files, limit_s=_BOOT_LIMIT_S)
        except GuestLost as lost:
            words = await _parting(launched)
            console = await self._console(spec)
            raise BootTimeout(
                f"the guest did not come up ({lost}; Firecracker: {words}); its console, booted "
                f"once more, ended with:\n{console}",
                hint="luminaguard doctor",
            ) from lost
        except BaseException:
            await launched.end()
            raise
        return _machine(launched, guest, spec, self._key(spec, host), started_s)

    async def _console(self, spec: VmSpec) -> str:
        """Return the end of what a guest's kernel says that does not come up."""
        host, shape = await self._host(), shape_of(spec)
        files = await self._files.ready(spec.image, spec.profile)
        try:
            launched = await host.launcher.launch(shape)
        except VmError as problem:
            return f"({problem})"
        try:
            guest = await start.boot(launched, shape, files, limit_s=_CONSOLE_LIMIT_S, console=True)
            guest.client.close()
        except VmError as problem:
            await launched.end()
            return printable(await launched.vmm.last_words()) or f"({problem})"
        finally:
            await launched.end()
        return "(nothing: this time it came up)"

    async def _build(self, template: Template) -> None:
        async with await self._boot(template.spec) as machine, self._store.new(template.key) as new:
            await machine.exercise()
            await machine.settle()
            await machine.snapshot(new)

    async def _verifies(self, template: Template) -> bool:
        try:
            await self._load(template)
        except TemplateError:
            return False
        return True

    async def _load(self, template: Template) -> LoadedTemplate:
        """Return the template's files, verifying them at first use and whenever they changed."""
        async with self._loading:
            loaded = self._loaded.get(template.key)
            if loaded is not None and not loaded.unchanged:
                del self._loaded[template.key]
                loaded.close()
                loaded = None
            if loaded is None:
                loaded = await run_sync(load_template, template, self._memory)
                self._loaded[template.key] = loaded
            return loaded

    async def _host(self) -> Host:
        if self._found is None:
            self._found = await run_sync(self._find_host)
        return self._found

    async def _probe_with(self, image: GuestImage) -> Probe:
        if self._probe is None:
            host = await self._host()
            self._cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            cache = ProbeCache(self._cache_dir / "firecracker-probe.json", {"kvm"})
            identity = host_identity(host.identity)
            probe = cache.read(identity)
            if probe is None:
                probe = await self._try_booting(image, host)
                cache.write(identity, probe)
            self._probe = probe
        return self._probe

    async def _try_booting(self, image: GuestImage, host: Host) -> Probe:
        version = require_known(host.version)
        try:
            async with await self._boot(trial_spec(image)):
                pass
        except (HypervisorUnavailable, ImageError):
            raise
        except VmError as problem:
            raise HypervisorUnavailable(
                f"no guest boots under Firecracker {version} on this host: {problem}",
                hint=problem.hint or "luminaguard doctor",
            ) from problem
        return Probe(tier=Tier.HARDWARE, accelerator="kvm", version=version)

    def _key(self, spec: VmSpec, host: Host) -> str:
        """Return the digest of everything that shapes a saved guest."""
        facts = {
            "firecracker": host.identity,
            "version": str(host.version),
            "host-cpu": cpu_identity(),
            "image": spec.image.digest,
            "agent": agent_digest(),
            "profile": spec.profile.digest,
            "machine": shape_digest(shape_of(spec)),
        }
        return sha256(canonical_json(facts)).hexdigest()


def find_host(cache_dir: Path, runtime_dir: Path, allow_missing: frozenset[str]) -> Host:
    """Return what this host runs Firecracker with. Blocking.

    Raises:
        HypervisorUnavailable: something is missing, too old, or may not be used.
    """
    programs = find_programs()
    require_kvm()
    version = program_version(programs.firecracker)
    require_known(version)
    if programs.jailer is not None and (jailer := program_version(programs.jailer)) != version:
        raise HypervisorUnavailable(
            f"Firecracker is {version}, but its jailer {jailer}",
            hint="install both from the same release",
        )
    launcher = HostLauncher(programs, cache_dir, runtime_dir, allow_missing)
    return Host(identity=programs.identity, version=version, launcher=launcher)


def _machine(
    launched: Launched, guest: start.Guest, spec: VmSpec, key: str, started_s: float
) -> FirecrackerMachine:
    isolation = Isolation(
        backend="firecracker",
        tier=Tier.HARDWARE,
        accelerator="kvm",
        jail=guest.jail,
        guest=spec.profile.stamp,
    )
    origin = Origin(shape=shape_of(spec), key=key, isolation=isolation)
    machine = FirecrackerMachine(launched, guest, origin)
    machine.ready((time.perf_counter() - started_s) * 1000)
    return machine


async def _parting(launched: Launched) -> str:
    """End a Firecracker; return its last words."""
    await launched.end()
    return printable(await launched.words())


def _let_go(templates: dict[str, LoadedTemplate]) -> None:
    for loaded in templates.values():
        loaded.close()
    templates.clear()
