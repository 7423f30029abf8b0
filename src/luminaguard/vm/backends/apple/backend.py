"""The Apple hypervisor: boots for certain, saves and restores where trying showed that it works."""

import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.domain.isolation import Tier
from luminaguard.errors import HypervisorUnavailable, TemplateError, VmError
from luminaguard.image.image import GuestImage
from luminaguard.vm.agentfiles import agent_digest
from luminaguard.vm.backends.apple import pyobjc
from luminaguard.vm.backends.apple.configuration import Shape, kernel_line, saving_problem
from luminaguard.vm.backends.apple.framework import Framework
from luminaguard.vm.backends.apple.host import (
    MacFacts,
    mac_facts,
    require_macos,
    require_permission,
)
from luminaguard.vm.backends.apple.launch import ACCELERATOR, Launcher, Plan
from luminaguard.vm.backends.apple.record import Found, FoundRecord
from luminaguard.vm.backends.apple.saved import SavedMachine, verified
from luminaguard.vm.engine import EngineMachine
from luminaguard.vm.hypervisor import Capabilities, Probe, Template
from luminaguard.vm.slots import PrivateDirectory, sweep
from luminaguard.vm.spec import VmSpec
from luminaguard.vm.templates import TemplateStore
from luminaguard.vm.trial import require_image

_SAVING = "saved machines"
_FORMAT = 1
"""Of a template; raised when the set of devices changes."""


class AppleHypervisor:
    """Makes micro-VMs with Virtualization.framework."""

    name = "apple"

    def __init__(
        self,
        cache_dir: Path,
        runtime_dir: Path,
        *,
        allow_missing: frozenset[str] = frozenset(),
        image: GuestImage | None = None,
        framework: Framework | None = None,
        facts: MacFacts | None = None,
        boot_limit_s: float = 20.0,
    ) -> None:
        """Keep where things lie; nothing is tried yet.

        Args:
            cache_dir: Templates, unpacked kernels and the probe's result.
            runtime_dir: Private directory of this user's running LuminaGuard.
            allow_missing: Jail layers that the user's configuration waives, by name.
            image: What `probe` boots.
            framework: Apple's classes. Default: the real ones.
            facts: What is known of the host. Default: this host's.
            boot_limit_s: A guest that has not answered by then never will.
        """
        self._cache_dir = cache_dir
        self._runtime_dir = runtime_dir
        self._allow_missing = allow_missing
        self._image = image
        self._framework = framework
        self._facts = facts or mac_facts()
        self._boot_limit_s = boot_limit_s
        self._launcher: Launcher | None = None
        self._store = TemplateStore(cache_dir / "apple")
        self._record = FoundRecord(cache_dir)
        self._found = self._record.read(self._identity())
        self._known: dict[str, SavedMachine] = {}

    def close(self) -> None:
        """Forget what was verified; machines are their owners' to stop."""
        self._known.clear()

    @property
    def capabilities(self) -> Capabilities:
        """What this Mac was seen to do: `snapshots` once a probe saved and restored a machine.

        Without them, machines are booted, exercised and paused ahead of use.
        """
        saves = self._found is not None and self._found.saving_problem is None
        return Capabilities(snapshots=saves, pause=True, swap_disks=True)

    async def probe(self) -> Probe:
        """Boot a guest, then try to save it and to restore it twice; remembered.

        Raises:
            HypervisorUnavailable: with the missing piece and what mends it.
        """
        image = require_image(self._image)
        launcher = await self._ready()
        if self._found is None:
            spec = VmSpec(image=image)
            async with await self._boot(launcher, self._plan(spec)) as machine:
                await machine.exercise()
            self._found = await self._try_saving(launcher, spec)
            await run_sync(self._record.write, self._identity(), self._found)
        problem = self._found.saving_problem
        return Probe(
            tier=Tier.HARDWARE,
            accelerator=ACCELERATOR,
            version=self._facts.label,
            tried=() if problem is None else ((_SAVING, problem),),
        )

    async def boot(self, spec: VmSpec) -> EngineMachine:
        """Boot a machine from its image; returns once the guest answered."""
        return await self._boot(await self._ready(), self._plan(spec))

    async def template(self, spec: VmSpec) -> Template:
        """Return the verified template for `spec`, booting and saving it if there is none."""
        launcher = await self._ready()
        self._require_saving()
        return await self._template(launcher, spec)

    async def restore(self, template: Template) -> EngineMachine:
        """Make a machine out of a template; returns once the guest answered.

        Raises:
            TemplateError: the template is missing, stale or not what was saved.
        """
        launcher = await self._ready()
        self._require_saving()
        return await self._restore(launcher, template)

    async def _ready(self) -> Launcher:
        """Return what makes machines, once this host has been found fit.

        Raises:
            HypervisorUnavailable: it is not; the message names the missing piece.
        """
        if self._launcher is None:
            require_macos(self._facts)
            framework = self._framework or await run_sync(pyobjc.load)
            await run_sync(require_permission, framework)
            await run_sync(sweep, self._runtime_dir / "apple")
            self._framework = framework
            self._launcher = Launcher(
                framework,
                self._cache_dir,
                self._runtime_dir,
                self._allow_missing,
                arch=self._facts.arch,
                boot_limit_s=self._boot_limit_s,
            )
        return self._launcher

    def _require_saving(self) -> None:
        found = self._found
        if found is None or found.saving_problem is not None:
            reason = "it was not tried yet" if found is None else found.saving_problem
            raise HypervisorUnavailable(
                f"machines cannot be saved and restored here: {reason}",
                hint="boot machines instead, or run luminaguard doctor",
            )

    async def _boot(self, launcher: Launcher, plan: Plan) -> EngineMachine:
        started_s = time.perf_counter()
        machine = await launcher.boot(plan)
        machine.ready((time.perf_counter() - started_s) * 1000)
        return machine

    async def _template(
        self, launcher: Launcher, spec: VmSpec, *, entropy: bool | None = None
    ) -> Template:
        plan = self._plan(spec, entropy=entropy)
        key = plan.key
        template = Template(key=key, directory=self._store.path(key), spec=spec)
        if not await self._verifies(template):
            async with self._store.turn():
                if not await self._verifies(template):  # nobody made it meanwhile
                    async with (
                        self._store.new(key) as new,
                        await self._boot(launcher, plan) as machine,
                    ):
                        await machine.exercise()
                        await machine.snapshot(new)
                    await self._verified(template)
        self._store.used(key)
        return template

    async def _restore(
        self, launcher: Launcher, template: Template, *, entropy: bool | None = None
    ) -> EngineMachine:
        started_s = time.perf_counter()
        plan = self._plan(template.spec, entropy=entropy)
        if plan.key != template.key:
            raise TemplateError(
                "the template is stale: macOS, the image or the agent has changed",
                hint="build it anew",
            )
        saved = await self._verified(template)
        try:
            machine = await launcher.wake(plan, saved)
        except HypervisorUnavailable:
            raise
        except VmError as problem:
            raise TemplateError(f"the template cannot be restored: {problem}") from problem
        machine.ready((time.perf_counter() - started_s) * 1000)
        return machine

    async def _verifies(self, template: Template) -> bool:
        try:
            await self._verified(template)
        except TemplateError:
            return False
        return True

    async def _verified(self, template: Template) -> SavedMachine:
        known = self._known.get(template.key)
        saved = await run_sync(verified, template.directory, template.key, known)
        self._known[template.key] = saved
        return saved

    async def _try_saving(self, launcher: Launcher, spec: VmSpec) -> Found:
        """Save a machine and bring it back twice at the same time; say what came of it.

        Twice, since a saved machine comes back under its one identifier, which two machines at a
        time should not have. Source: Apple, VZGenericMachineIdentifier.
        """
        if not self._facts.may_save:
            return Found(saving_problem="macOS 14 or newer on Apple silicon is needed")
        found = await self._savable(launcher, spec)
        if found.saving_problem is not None:
            return found
        try:
            template = await self._template(launcher, spec, entropy=found.entropy)
            async with (
                await self._restore(launcher, template, entropy=found.entropy) as first,
                await self._restore(launcher, template, entropy=found.entropy) as second,
            ):
                await first.exercise()
                await second.exercise()
        except VmError as problem:
            return replace(found, saving_problem=str(problem))
        return found

    async def _savable(self, launcher: Launcher, spec: VmSpec) -> Found:
        """Ask macOS which set of devices it says it can save, the fuller one first."""
        directory = await run_sync(
            PrivateDirectory.make, self._runtime_dir / "apple", spec.disk_limit_bytes
        )
        problem: str | None = None
        try:
            for entropy in (True, False):
                described = await launcher.describe(
                    self._plan(spec, entropy=entropy), directory.path, console=None
                )
                problem = saving_problem(described)
                if problem is None:
                    return Found(saving_problem=None, entropy=entropy)
        except VmError as refusal:
            problem = str(refusal)
        finally:
            await run_sync(directory.remove)
        return Found(saving_problem=problem)

    def _plan(self, spec: VmSpec, *, entropy: bool | None = None) -> Plan:
        """Return what to make; `entropy` overrides what the probe found best."""
        if entropy is None:
            entropy = self._found is None or self._found.entropy
        shape = Shape(
            memory_mib=spec.memory_mib,
            vcpus=spec.vcpus,
            disk_limit_bytes=spec.disk_limit_bytes,
            profile=spec.profile,
            entropy=entropy,
        )
        facts: list[JsonValue] = [
            *(_FORMAT, self._facts.label, spec.image.digest, agent_digest()),
            *(shape.memory_mib, shape.vcpus, shape.disk_limit_bytes, shape.entropy),
            *(spec.profile.digest, kernel_line(spec.profile)),
        ]
        key = sha256(canonical_json(facts)).hexdigest()
        return Plan(image=spec.image, shape=shape, key=key)

    def _identity(self) -> str:
        """Return a digest of what a probe's result depends on."""
        facts: list[JsonValue] = [_FORMAT, self._facts.label, agent_digest()]
        return sha256(canonical_json([*facts, *sorted(self._allow_missing)])).hexdigest()
