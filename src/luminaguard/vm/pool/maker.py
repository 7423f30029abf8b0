"""How a pool's machines come to be: restored from a template, or booted where there is none."""

from collections.abc import Callable, Container
from hashlib import sha256

from anyio import to_thread

from luminaguard.errors import TemplateError
from luminaguard.vm.hypervisor import Hypervisor, MicroVM, Template
from luminaguard.vm.pool.state import FIRST_CLONE_BYTES, MIB
from luminaguard.vm.spec import VmSpec

_VMM_BYTES = 100 * MIB
"""Taken by QEMU itself beside the memory of a guest that shares none of it."""


class Maker:
    """Makes machines by key: of a template, or of a specification to boot."""

    def __init__(self, hypervisor: Hypervisor, spec: Callable[[], VmSpec]) -> None:
        """Use `hypervisor`, which stays the caller's; `spec` is called in a thread."""
        self._hypervisor = hypervisor
        self._spec = spec
        self._sources: dict[str, Template | VmSpec] = {}

    async def newest(self) -> str:
        """Return the key of what machines are to be made from now.

        Raises:
            VmError: there is no template, and none can be made.
            ImageError: there is no image.
        """
        spec = await to_thread.run_sync(self._spec)
        if self._hypervisor.capabilities.snapshots:
            template = await self._hypervisor.template(spec)
            self._sources[template.key] = template
            return template.key
        key = sha256(repr(spec).encode()).hexdigest()
        self._sources[key] = spec
        return key

    async def make(self, key: str) -> MicroVM:
        """Return a new machine whose guest has answered.

        Raises:
            VmError: it could not be made.
        """
        match self._sources.get(key):
            case Template() as template:
                return await self._hypervisor.restore(template)
            case VmSpec() as spec:
                return await self._hypervisor.boot(spec)
            case None:
                raise TemplateError("the template is no longer in use")

    def keep(self, keys: Container[str]) -> None:
        """Forget all other sources."""
        self._sources = {key: source for key, source in self._sources.items() if key in keys}

    async def warm(self, vm: MicroVM) -> None:
        """Exercise a machine once and let it rest.

        Raises:
            VmError: it is not fit for use.
        """
        await vm.exercise()
        if self._hypervisor.capabilities.pause:
            await vm.pause()

    async def first_guess_bytes(self) -> int:
        """Return what a machine in store takes, before any was measured."""
        if self._hypervisor.capabilities.snapshots:
            return FIRST_CLONE_BYTES
        spec = await to_thread.run_sync(self._spec)
        return spec.memory_mib * MIB + _VMM_BYTES
