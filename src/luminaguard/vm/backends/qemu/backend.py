"""The QEMU hypervisor: probe once, boot once, then clones in milliseconds."""

import os
import platform
import time
import weakref
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.calls import canonical_json
from luminaguard.errors import GuestLost, TemplateError
from luminaguard.image.image import GuestImage
from luminaguard.vm.agentfiles import agent_digest
from luminaguard.vm.backends.qemu import cold
from luminaguard.vm.backends.qemu.accelerator import (
    Accelerator,
    accelerator_names,
    by_name,
    find_accelerator,
)
from luminaguard.vm.backends.qemu.command import Shape, clone_command, shape_digest
from luminaguard.vm.backends.qemu.launch import Files, Launched, Launcher, find_qemu
from luminaguard.vm.backends.qemu.loaded import LoadedTemplate, open_template
from luminaguard.vm.backends.qemu.machine import IGNORE_SHARED, Origin, QemuMachine
from luminaguard.vm.backends.qemu.version import qemu_version
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import Capabilities, Probe, Template
from luminaguard.vm.imagecheck import RECORD, ImageCheck
from luminaguard.vm.linux import memory_file
from luminaguard.vm.probecache import ProbeCache, host_identity
from luminaguard.vm.spec import VmSpec
from luminaguard.vm.templates import TemplateStore
from luminaguard.vm.trial import require_image, trial_spec

_FIRST_ANSWER_LIMIT_S = 30.0
_REHEARSAL_SCRATCH_BYTES = 64 * 1024 * 1024


class QemuHypervisor:
    """Makes micro-VMs with QEMU.

    Keeps the memory of each template that it used, sealed, until `close`.
    """

    name = "qemu"
    capabilities = Capabilities(snapshots=True, pause=True, swap_disks=True)

    def __init__(
        self,
        cache_dir: Path,
        runtime_dir: Path,
        *,
        allow_missing: frozenset[str] = frozenset(),
        image: GuestImage | None = None,
        rehearsal: Callable[[], int] | None = None,
    ) -> None:
        """Keep where things lie.

        Args:
            cache_dir: Templates, the jail's root and the probe's result.
            runtime_dir: Private directory of this user's running LuminaGuard.
            allow_missing: Jail layers that the user's configuration waives, by name.
            image: What `probe` boots.
            rehearsal: Makes an empty EROFS image, as an open file; clones are then exercised with
                a workspace mounted as well. Called in a thread.
        """
        self._cache_dir = cache_dir
        self._image = image
        self._rehearsal = rehearsal
        self._launcher = Launcher(cache_dir, runtime_dir, allow_missing)
        self._store = TemplateStore(cache_dir)
        self._loaded: dict[str, LoadedTemplate] = {}
        self._opened: list[LoadedTemplate] = []
        self._opening = anyio.Lock()
        self._image_check = ImageCheck()
        self._probe: Probe | None = None
        weakref.finalize(self, _let_go, self._opened)

    def close(self) -> None:
        """Let go of the templates' memory, and of the watch over machines: end those first."""
        self._launcher.close()
        self._loaded.clear()
        _let_go(self._opened)

    async def probe(self) -> Probe:
        """Find the best accelerator by booting on it; remembered until the host changes.

        Raises:
            HypervisorUnavailable: with the missing piece and the command that mends it.
        """
        return await self._probe_with(require_image(self._image))

    async def boot(self, spec: VmSpec) -> QemuMachine:
        """Boot a machine from its image; returns once the guest answered."""
        started_s = time.perf_counter()
        shape = await self._shape(spec)
        memory = memory_file("luminaguard-guest", shape.memory_bytes)
        try:
            launched = await cold.boot(self._launcher, spec.image, shape, memory)
        except BaseException:
            os.close(memory)
            raise
        origin = Origin(shape=shape, key=_template_key(spec, shape), own_memory=memory)
        machine = QemuMachine(launched, origin)
        machine.ready((time.perf_counter() - started_s) * 1000)
        return machine

    async def template(self, spec: VmSpec) -> Template:
        """Return the template for `spec`, booting and saving it if there is none that is whole.

        The memory of a template that this process has not used yet is checked by the first
        `restore`, beside QEMU's start. When that finds it damaged, the next call here makes it
        anew.
        """
        shape = await self._shape(spec)
        key = _template_key(spec, shape)
        template = Template(key=key, directory=self._store.path(key), spec=spec)
        if not await self._is_usable(template):
            async with self._store.turn():
                if not await self._verifies(template):  # nobody made it meanwhile
                    await self._build(template)
                    await self._open(template)
        self._store.used(key)
        return template

    async def restore(self, template: Template) -> QemuMachine:
        """Make a clone of a template; returns once the guest answered.

        Raises:
            TemplateError: the template is missing, stale or does not match its manifest.
            ImageError: the image was changed since.
        """
        started_s = time.perf_counter()
        shape = await self._shape(template.spec)
        key = _template_key(template.spec, shape)
        if key != template.key:
            raise TemplateError(
                "the template is stale: QEMU, the image, the agent or the host has changed",
                hint="build it anew",
            )
        await run_sync(self._image_check.require, template.spec.image, template.directory / RECORD)
        loaded = await self._opened_once(template)
        launched = await self._wake(template, shape, loaded)
        rehearsal = self._rehearsal_disks if self._rehearsal is not None else None
        origin = Origin(shape=shape, key=template.key, own_memory=None, rehearsal=rehearsal)
        machine = QemuMachine(launched, origin)
        machine.ready((time.perf_counter() - started_s) * 1000)
        return machine

    async def _wake(self, template: Template, shape: Shape, loaded: LoadedTemplate) -> Launched:
        """Start a QEMU on the template's memory and let the saved guest go on in it."""
        root = os.open(template.spec.image.rootfs, os.O_RDONLY)
        # Each clone reads the state at its own position, so it gets a description of its own.
        state = os.open(f"/proc/self/fd/{loaded.state}", os.O_RDONLY)
        files = Files(memory=loaded.memory, root=root, state=state, filled=loaded.filled)
        try:
            launched = await self._launcher.launch(shape, files, clone_command)
        finally:
            os.close(root)
            os.close(state)
        try:
            await launched.qmp.execute("migrate-set-capabilities", capabilities=[IGNORE_SHARED])
            await launched.qmp.execute("migrate-incoming", uri=f"fd:{state}")
            await launched.client.hello(_FIRST_ANSWER_LIMIT_S)
        except GuestLost as lost:
            await cold.end(launched)
            words = await launched.process.last_words()
            raise TemplateError(f"the template does not wake up: {lost}; QEMU: {words}") from lost
        except BaseException:
            await cold.end(launched)
            raise
        return launched

    def _rehearsal_disks(self) -> tuple[int, int]:
        if self._rehearsal is None:
            raise ValueError("there is nothing to rehearse with")
        image = self._rehearsal()
        try:
            return image, scratch_disk(self._cache_dir, _REHEARSAL_SCRATCH_BYTES)
        except BaseException:
            os.close(image)
            raise

    async def _build(self, template: Template) -> None:
        await run_sync(self._image_check.require, template.spec.image)
        async with await self.boot(template.spec) as machine, self._store.new(template.key) as new:
            await machine.exercise()
            await machine.settle()
            await machine.snapshot(new)

    async def _is_usable(self, template: Template) -> bool:
        """Whether the template is there and nothing is known against it."""
        try:
            return not (await self._opened_once(template)).is_damaged
        except TemplateError:
            return False

    async def _verifies(self, template: Template) -> bool:
        """Whether the template's files are, to the last byte, what was saved."""
        try:
            await (await self._open(template)).filled()
        except TemplateError:
            return False
        return True

    async def _open(self, template: Template) -> LoadedTemplate:
        """Read the template's files as they are now; from here on clones come from those."""
        loaded = await run_sync(open_template, template)
        self._opened.append(loaded)
        self._loaded[template.key] = loaded
        return loaded

    async def _opened_once(self, template: Template) -> LoadedTemplate:
        async with self._opening:
            return self._loaded.get(template.key) or await self._open(template)

    async def _shape(self, spec: VmSpec) -> Shape:
        probe = await self._probe_with(spec.image)
        return _shape_of(spec, by_name(probe.accelerator))

    async def _probe_with(self, image: GuestImage) -> Probe:
        if self._probe is None:
            binary = find_qemu()
            self._cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            cache = ProbeCache(self._cache_dir / "qemu-probe.json", accelerator_names())
            identity = host_identity(_binary_identity(binary))
            probe = cache.read(identity)
            if probe is None:
                probe = await self._try_accelerators(image, binary)
                cache.write(identity, probe)
            self._probe = probe
        return self._probe

    async def _try_accelerators(self, image: GuestImage, binary: str) -> Probe:
        async def attempt(accelerator: Accelerator) -> str | None:
            shape = _shape_of(trial_spec(image), accelerator)
            return await cold.reaches_user_space(self._launcher, image, shape)

        version = await run_sync(qemu_version, binary)
        return await find_accelerator(attempt, version=version)


def _let_go(templates: list[LoadedTemplate]) -> None:
    for loaded in templates:
        loaded.close()
    templates.clear()


def _shape_of(spec: VmSpec, accelerator: Accelerator) -> Shape:
    return Shape(
        binary=find_qemu(),
        accelerator=accelerator,
        memory_mib=spec.memory_mib,
        vcpus=spec.vcpus,
        disk_limit_bytes=spec.disk_limit_bytes,
        profile=spec.profile,
    )


def _template_key(spec: VmSpec, shape: Shape) -> str:
    """Return the digest of everything that shapes a saved guest."""
    facts = {
        "qemu": _binary_identity(shape.binary),
        "accelerator": shape.accelerator.name,
        "host-cpu": "" if shape.accelerator.emulated else _host_cpu(),
        "image": spec.image.digest,
        "agent": agent_digest(),
        "command": shape_digest(shape),
    }
    return sha256(canonical_json(facts)).hexdigest()


def _binary_identity(binary: str) -> str:
    about = os.stat(binary)
    return f"{binary} {about.st_size} {about.st_mtime_ns}"


def _host_cpu() -> str:
    """Return what a guest that sees the host's processor depends on."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as source:
            kept = [line for line in source if line.startswith(("model name", "flags", "Features"))]
    except OSError:
        kept = [platform.processor()]
    return f"{platform.release()} {sorted(set(kept))}"
