"""Machines without a pool: each one is restored when it is asked for."""

import time
from collections.abc import Callable, Mapping

from anyio import to_thread

from luminaguard.errors import GuestLost, TemplateError
from luminaguard.vm.hypervisor import Hypervisor, MicroVM
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec


class DirectLease:
    """A machine that was made for its owner."""

    def __init__(self, vm: MicroVM, timings_ms: Mapping[str, float]) -> None:
        """Hand out a fresh machine."""
        self.vm = vm
        self.timings_ms = timings_ms

    def renew(self) -> None:
        """Do nothing but look: a machine that nobody else waits for may be kept.

        Raises:
            GuestLost: the machine is gone.
        """
        if self.vm.state is VmState.STOPPED:
            raise GuestLost("the session's machine is gone")

    async def release(self) -> None:
        """Destroy the machine."""
        await self.vm.stop()


class DirectSource:
    """A `MachineSource` for whoever needs one machine at a time."""

    def __init__(self, hypervisor: Hypervisor, spec: Callable[[], VmSpec]) -> None:
        """Make machines with `hypervisor`.

        Args:
            hypervisor: Stays the caller's to close.
            spec: Finds the guest image; called in a thread for every machine.
        """
        self._hypervisor = hypervisor
        self._spec = spec

    async def lease(self, owner: str) -> DirectLease:
        """Return a new clone of the template, or a booted machine where there are no templates.

        Raises:
            VmError: no machine could be made.
        """
        del owner  # nobody competes
        spec = await to_thread.run_sync(self._spec)
        started_s = time.perf_counter()
        if not self._hypervisor.capabilities.snapshots:
            vm: MicroVM = await self._hypervisor.boot(spec)
            return DirectLease(vm, {"restore_ms": _since_ms(started_s)})
        template = await self._hypervisor.template(spec)
        template_ms = _since_ms(started_s)
        try:
            vm = await self._hypervisor.restore(template)
        except TemplateError:  # found damaged when it was used: asking again makes it anew
            template = await self._hypervisor.template(spec)
            template_ms = _since_ms(started_s)
            vm = await self._hypervisor.restore(template)
        timings_ms = {"template_ms": template_ms, "restore_ms": _since_ms(started_s) - template_ms}
        return DirectLease(vm, timings_ms)


def _since_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000
