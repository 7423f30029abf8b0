"""Hypervisors whose machines are processes of the host over an unpacked image, never saved.

Written once: what they keep on the host, and what they refuse. A backend adds how a machine starts.
"""

from abc import ABC, abstractmethod
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.errors import TemplateError
from luminaguard.image.image import GuestImage
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.cgroups.machine import Cgroups, MachineCgroup
from luminaguard.vm.confinement.undertaker import Undertaker
from luminaguard.vm.hypervisor import Capabilities, MicroVM, Probe, Template
from luminaguard.vm.owned import OwnedDirectory, make_owned, remove_dead
from luminaguard.vm.roots import Roots
from luminaguard.vm.spec import VmSpec


class RootedHypervisor(ABC):
    """What the backends without disks and templates have in common."""

    name: str
    """The backend's; its machines' directories lie under it in the runtime directory."""
    capabilities = Capabilities(snapshots=False, pause=True, swap_disks=True)
    _no_templates: str
    """Why there are none."""

    def __init__(
        self,
        cache_dir: Path,
        runtime_dir: Path,
        *,
        allow_missing: frozenset[str] = frozenset(),
        image: GuestImage | None = None,
    ) -> None:
        """Keep where things lie.

        Args:
            cache_dir: Unpacked guest images.
            runtime_dir: Private directory of this user's running LuminaGuard.
            allow_missing: Jail layers that the user's configuration waives, by name.
            image: What `probe` boots.
        """
        self._runtime_dir = runtime_dir
        self._homes = runtime_dir / self.name
        self._swept = False
        self._allow_missing = allow_missing
        self._image = image
        self._roots = Roots(cache_dir)
        self._undertaker = Undertaker()
        self._cgroups = Cgroups(self._undertaker.mark)

    def close(self) -> None:
        """Let go of the watch over machines and of their roots: end those first."""
        self._undertaker.close()
        self._roots.close()

    @abstractmethod
    async def probe(self) -> Probe:
        """Find out, by booting, what this host gives."""

    @abstractmethod
    async def boot(self, spec: VmSpec) -> MicroVM:
        """Boot a machine from its image; returns once the guest answered."""

    async def template(self, spec: VmSpec) -> Template:
        """Refuse.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        raise TemplateError(self._no_templates, image=spec.image.digest)

    async def restore(self, template: Template) -> MicroVM:
        """Refuse.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        raise TemplateError(self._no_templates, key=template.key)

    async def _home(self) -> OwnedDirectory:
        """Return a new machine's directory; the first time, remove those of killed LuminaGuards."""
        if not self._swept:
            await run_sync(remove_dead, self._homes)
            self._swept = True
        return await run_sync(make_owned, self._homes, f"{self._undertaker.mark}-")

    def _cgroup(self, limits: CgroupLimits) -> MachineCgroup:
        """Return a new machine's cgroup; whatever is started in it is watched from here on."""
        cgroup = self._cgroups.make(limits)
        self._undertaker.start(self._cgroups.parents)
        return cgroup
