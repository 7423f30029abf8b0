"""The hands of a pool: they make, warm, measure and destroy machines, and report each outcome.

What to do is decided elsewhere (`schedule.py`). One machine's failure never ends another one, and
whatever was begun is ended for certain when the pool closes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import anyio
import anyio.abc
from anyio import to_thread

from luminaguard.errors import (
    ConfigError,
    HypervisorUnavailable,
    ImageError,
    TemplateError,
    VmError,
)
from luminaguard.vm.hypervisor import MicroVM
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.events import (
    Ended,
    MakingBegun,
    MakingFailed,
    Measured,
    PoolEvent,
    Restored,
    Retired,
    Step,
    TemplateBegun,
    TemplateFailed,
    TemplateReady,
    Warmed,
    WarmingBegun,
    Why,
)
from luminaguard.vm.pool.maker import Maker
from luminaguard.vm.pool.memory import MemoryView
from luminaguard.vm.pool.state import Machine, Phase
from luminaguard.vm.pool.waiting import Span

_TEMPLATE_LIMIT_S = 900.0
_MAKE_LIMIT_S = 300.0
_WARM_LIMIT_S = 180.0
_STOP_LIMIT_S = 40.0
_ANSWER_LIMIT_S = 5.0
_MEASURED_AT_ONCE = 2
_MEASURE_AGAIN_S = {Phase.LEASED: 2.0, Phase.WARM: 60.0}
_HOPELESS = (HypervisorUnavailable, ImageError, ConfigError)


@dataclass(slots=True, kw_only=True)
class Held:
    """A living machine, and what the state need not know of it."""

    vm: MicroVM
    making: Span
    gone: anyio.Event = field(default_factory=anyio.Event)
    owner_watch: anyio.CancelScope | None = None
    measured_s: float = float("-inf")


class Crew:
    """Carries out decisions."""

    def __init__(
        self,
        maker: Maker,
        memory: MemoryView,
        now: Callable[[], float],
        report: Callable[[PoolEvent], None],
    ) -> None:
        """Work with `maker`; `report` is told what came of it, and nothing that was decided."""
        self.held: dict[int, Held] = {}
        self.template_span = Span(begun_s=0.0, ended_s=0.0)
        """When the template was last made or checked."""
        self.last_failure: Exception | None = None
        self._maker = maker
        self._memory = memory
        self._now = now
        self._report = report

    def carry_out(self, decision: PoolEvent, tasks: anyio.abc.TaskGroup) -> None:
        """Begin what was decided, as a task; decisions that need no work are let pass."""
        match decision:
            case MakingBegun(machine=machine, template=template):
                tasks.start_soon(self._make, machine, template)
            case WarmingBegun(machine=machine):
                tasks.start_soon(self._warm, machine)
            case Retired(machine=machine):
                tasks.start_soon(self._destroy, machine)
            case TemplateBegun():
                tasks.start_soon(self._find_template)
            case _:
                return

    def keep_sources(self, keys: Iterable[str]) -> None:
        """Forget the templates that nothing is made from any more."""
        self._maker.keep(frozenset(keys))

    async def measure(self, machines: Iterable[Machine]) -> None:
        """Read the memory of those not looked at for longest; a few, since it takes CPU."""
        now_s = self._now()
        due = [
            (held.measured_s, machine.number, held)
            for machine in machines
            if (held := self.held.get(machine.number)) is not None
            and held.measured_s + _MEASURE_AGAIN_S.get(machine.phase, now_s) <= now_s
        ]
        for _, number, held in sorted(due, key=lambda row: row[:2])[:_MEASURED_AT_ONCE]:
            await self._measure(number, held)

    async def end_all(self) -> None:
        """End every machine, whatever it is doing; bounded."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as ending:
                for number in list(self.held):
                    ending.start_soon(self._destroy, number)

    async def _find_template(self) -> None:
        begun_s = self._now()
        try:
            with anyio.fail_after(_TEMPLATE_LIMIT_S):
                key = await self._maker.newest()
        except Exception as problem:  # noqa: BLE001 - told to those who wait, and tried again
            self.last_failure = problem
            self._report(TemplateFailed(at_s=self._now()))
            return
        self.template_span = span = Span(begun_s=begun_s, ended_s=self._now())
        self._report(TemplateReady(at_s=span.ended_s, key=key))

    async def _make(self, number: int, template: str) -> None:
        begun_s = self._now()
        try:
            with anyio.fail_after(_MAKE_LIMIT_S):
                vm = await self._maker.make(template)
        except Exception as problem:  # noqa: BLE001 - one machine less must not end the others
            self.last_failure = problem
            failed = MakingFailed(
                at_s=self._now(),
                machine=number,
                stale=isinstance(problem, TemplateError),
                hopeless=isinstance(problem, _HOPELESS),
            )
            self._report(failed)
            return
        making = Span(begun_s=begun_s, ended_s=self._now())
        self.held[number] = Held(vm=vm, making=making)
        self._report(Restored(at_s=making.ended_s, machine=number, spawn_ms=vm.spawn_ms))

    async def _warm(self, number: int) -> None:
        held = self.held[number]
        try:
            with anyio.fail_after(_WARM_LIMIT_S):
                await self._maker.warm(held.vm)
        except Exception as problem:  # noqa: BLE001 - a machine unfit for use is destroyed
            self.last_failure = problem
            self._report(
                Retired(at_s=self._now(), machine=number, why=Why.FAILED, step=Step.EXERCISE)
            )
            return
        self._report(Warmed(at_s=self._now(), machine=number))
        await self._measure(number, held)

    async def _measure(self, number: int, held: Held) -> None:
        held.measured_s = self._now()
        used = await to_thread.run_sync(self._memory.used_bytes, held.vm.pid)
        if used is not None and number in self.held:
            self._report(Measured(at_s=self._now(), machine=number, used_bytes=used))

    async def _destroy(self, number: int) -> None:
        held = self.held.get(number)
        if held is None:
            return
        failed = await _stop(held)
        self.held.pop(number, None)
        self._report(Ended(at_s=self._now(), machine=number, step=failed))
        held.gone.set()


async def _stop(held: Held) -> Step | None:
    """End a machine for certain; return the step that failed, if it did."""
    if held.owner_watch is not None:
        held.owner_watch.cancel()
    with anyio.move_on_after(_STOP_LIMIT_S, shield=True):
        try:
            await held.vm.stop()
        except (VmError, OSError):
            return Step.STOP
        return None
    return Step.STOP


async def answers(vm: MicroVM) -> bool:
    """Whether a machine is alive now: one that was paused a while ago has to say so."""
    with anyio.move_on_after(_ANSWER_LIMIT_S):
        try:
            if vm.state is VmState.PAUSED:
                await vm.pause()
        except (VmError, OSError):
            return False
        return vm.state is not VmState.STOPPED
    return False
