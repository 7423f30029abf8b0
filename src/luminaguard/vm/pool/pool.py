"""The pool as its users see it: leases out, figures out, and one place where events come together.

All state lives on one event loop. Each change goes through `_record`, so that decisions
(`schedule.py`) and figures (`metrics.py`) rest on the same events; `crew.py` does the work.
"""

import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

import anyio
import anyio.abc

from luminaguard.errors import GuestLost, VmError
from luminaguard.vm.hypervisor import Hypervisor
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.crew import Crew, Held, answers
from luminaguard.vm.pool.events import (
    GaveUp,
    HandedOut,
    PoolEvent,
    Queued,
    RefreshAsked,
    Refused,
    Renewed,
    Requeued,
    Retired,
    Step,
    Taken,
    TemplateReady,
    Why,
)
from luminaguard.vm.pool.lease import OwnerProcess, PoolLease
from luminaguard.vm.pool.maker import Maker
from luminaguard.vm.pool.memory import HostMemory, MemoryView
from luminaguard.vm.pool.metrics import PoolMetrics, Totals, measure
from luminaguard.vm.pool.schedule import Facts, decide, next_due_s
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.pool.state import Phase, PoolState
from luminaguard.vm.pool.telling import OPEN, Watcher, keep_telling
from luminaguard.vm.pool.waiting import Ticket, refusal, timings_ms
from luminaguard.vm.spec import VmSpec

_TICK_S = 1.0
"""How often it looks for machines that died, and at the host's memory."""
_LEAST_WAIT_S = 0.01
_RELEASE_LIMIT_S = 45.0


class MachinePool:
    """Warm machines in store, each handed out once. A `MachineSource`; an async context manager.

    async with MachinePool(hypervisor, spec) as pool:
        lease = await pool.lease("session-1")
        ...
        await lease.release()
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        spec: VmSpec | Callable[[], VmSpec],
        settings: PoolSettings | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        memory: MemoryView | None = None,
    ) -> None:
        """Choose what the pool is made of; nothing is made yet.

        Args:
            hypervisor: Makes the machines; stays the caller's to close, after the pool.
            spec: The shape of the machines; a function is called in a thread, again and again, so
                that a new image is noticed.
            settings: Default: `PoolSettings()`.
            now: The clock, in seconds; never goes back.
            memory: What tells of memory. Default: this host.
        """
        self.id = secrets.token_hex(8)
        self.settings = settings or PoolSettings()
        self._now = now
        self._memory = memory or HostMemory()
        self._watchers: list[Watcher] = []
        self._state = PoolState()
        self._totals = Totals()
        self._maker = Maker(hypervisor, (lambda: spec) if isinstance(spec, VmSpec) else spec)
        self._crew = Crew(self._maker, self._memory, now, self._happened)
        self._tickets: dict[int, Ticket] = {}
        self._numbers = itertools.count(1)
        self._forgotten: deque[int] = deque()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._thread = threading.get_ident()
        self._wake = anyio.Event()
        self._changed = anyio.Event()

    async def __aenter__(self) -> Self:
        """Begin to fill the store; returns at once.

        Raises:
            ConfigError: this host has less memory than the settings need.
        """
        self._thread = threading.get_ident()
        clone_bytes = await self._maker.first_guess_bytes()
        self.settings.check_memory(self._memory.total_bytes(), clone_bytes)
        leased_bytes = max(clone_bytes, self._state.leased_bytes)
        self._state = replace(self._state, warm_bytes=clone_bytes, leased_bytes=leased_bytes)
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._keep_watch)
        self._tasks.start_soon(keep_telling, self, self._watchers, self._note_untold)
        OPEN.append(self)
        self._step()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Refuse who waits and destroy every machine, also those in use."""
        tasks, self._tasks = self._tasks, None
        OPEN.remove(self)
        for ticket in self._tickets.values():
            ticket.fail(_closed())
        try:
            if tasks is not None:
                tasks.cancel_scope.cancel()
                # An error of the caller's is not the pool's: it must not come out as a group.
                if isinstance(exc, anyio.get_cancelled_exc_class()):
                    await tasks.__aexit__(exc_type, exc, traceback)
                else:
                    await tasks.__aexit__(None, None, None)
        finally:
            await self._crew.end_all()
            self._state = replace(self._state, machines={}, waiters=())

    async def lease(
        self, owner: str, *, pid: int | None = None, patience_s: float | None = None
    ) -> PoolLease:
        """Return a machine that nobody has used, as soon as there is one for `owner`.

        Cancelling the call leaves nothing behind.

        Args:
            owner: Whom it is for, such as a session's id: owners take turns.
            pid: A process; when it ends, however it ends, the machine is destroyed.
            patience_s: Longest wait. Default: from the settings.

        Raises:
            PoolFull: too many are waiting, or none came free in time; trying again is safe.
            VmError: no machine could be made; or the pool is closed.
            ImageError: there is no image to make one from.
        """
        tasks = self._opened()
        process = OwnerProcess(pid) if pid is not None else None
        ticket = self._enter(owner, self.settings.patience_s if patience_s is None else patience_s)
        try:
            number, held = await self._given(ticket)
        except BaseException:
            self._leave(ticket)
            if process is not None:
                process.close()
            raise
        del self._tickets[ticket.number]
        if process is not None:
            held.owner_watch = anyio.CancelScope()
            tasks.start_soon(self._watch_owner, number, process, held.owner_watch)
        return self._signed(ticket, number, held)

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` the metrics, in a thread, when they change: at most five times a second.

        An `OSError` of its own is only counted: figures are not worth the machines.
        """
        self._watchers.append(watcher)

    def metrics(self) -> PoolMetrics:
        """Return the figures of this moment."""
        return measure(self._state, self._totals, self.settings, self._facts())

    def next_change(self) -> anyio.Event:
        """Return what is set when anything changes from now on."""
        return self._changed

    def refresh(self) -> None:
        """Look at once whether the template is still the right one; a new one takes over softly."""
        self._opened()
        self._happened(RefreshAsked(at_s=self._now()))

    def look(self) -> None:
        """Take stock at once instead of at the next tick, which is at most a second away."""
        self._opened()
        self._take_stock()

    async def until(self, holds: Callable[[PoolMetrics], bool], limit_s: float) -> PoolMetrics:
        """Wait until something can be said of the metrics, and return them.

        Raises:
            VmError: it did not come true within `limit_s`; the cause is the last failure, if any.
        """
        self._opened()
        with anyio.move_on_after(limit_s):
            while not holds(metrics := self.metrics()):
                await self._changed.wait()
            return metrics
        now = self.metrics()
        raise VmError(
            f"the pool did not get there within {limit_s:g} s: {now.paused} of {now.size} in store",
            hint="`luminaguard pool status` shows what failed",
        ) from self._crew.last_failure

    async def filled(self, limit_s: float = 300.0) -> PoolMetrics:
        """Wait until the store is full, and return the metrics.

        Raises:
            VmError: it was not within `limit_s`.
        """
        return await self.until(lambda now: now.paused >= now.size, limit_s)

    def renew(self, machine: int) -> None:
        """Let a lease run from now. For leases.

        Raises:
            GuestLost: the lease has ended, or the machine is gone.
        """
        now_s, about = self._now(), self._state.machines.get(machine)
        if about is not None and about.phase is Phase.LEASED and about.expires_s <= now_s:
            self._retire(machine, Why.EXPIRED)
        held = self._leased(machine)
        if held is None or held.vm.state is VmState.STOPPED:
            raise GuestLost("the machine is gone, or was held for too long without a call")
        expires_s = now_s + self.settings.lease_s
        self._record(Renewed(at_s=now_s, machine=machine, expires_s=expires_s))

    async def give_back(self, machine: int) -> None:
        """Destroy a leased machine and return when it is gone. For leases."""
        held = self._crew.held.get(machine)
        if held is None:
            return
        self._retire(machine, Why.RELEASED)
        with anyio.move_on_after(_RELEASE_LIMIT_S, shield=True):
            await held.gone.wait()

    def _opened(self) -> anyio.abc.TaskGroup:
        if self._tasks is None:
            raise _closed()
        return self._tasks

    def _leased(self, machine: int) -> Held | None:
        """Return a machine that somebody has; None if it is not theirs any more."""
        about = self._state.machines.get(machine)
        in_use = about is not None and about.phase is Phase.LEASED
        return self._crew.held.get(machine) if in_use else None

    def _enter(self, owner: str, patience_s: float) -> Ticket:
        now_s = self._now()
        ticket = Ticket(number=next(self._numbers), owner=owner, since_s=now_s)
        self._tickets[ticket.number] = ticket
        deadline_s = now_s + patience_s
        self._happened(Queued(at_s=now_s, ticket=ticket.number, owner=owner, deadline_s=deadline_s))
        self._wake.set()
        return ticket

    async def _given(self, ticket: Ticket) -> tuple[int, Held]:
        """Wait for a machine that proves to be alive."""
        while True:
            await ticket.called.wait()
            number, waiter = ticket.machine, ticket.waiter
            if ticket.error is not None or number is None or waiter is None:
                raise ticket.error or _closed()
            held = self._leased(number)
            alive = held is not None and await answers(held.vm)
            self._opened()
            if held is not None and alive and self._leased(number) is held:
                return number, held
            self._retire(number, Why.LOST, Step.HAND_OUT)
            ticket.wait_again()
            self._happened(Requeued(at_s=self._now(), waiter=waiter))

    def _leave(self, ticket: Ticket) -> None:
        """Forget a request that ended without a machine, and destroy what it was given."""
        self._tickets.pop(ticket.number, None)
        if ticket.machine is not None:
            self._retire(ticket.machine, Why.DROPPED)
        elif self._state.waiter(ticket.number) is not None:
            self._happened(GaveUp(at_s=self._now(), ticket=ticket.number))

    def _signed(self, ticket: Ticket, number: int, held: Held) -> PoolLease:
        held.measured_s = now_s = self._now()  # not now: it would slow the first command
        timings = timings_ms(ticket.since_s, now_s, self._crew.template_span, held.making)
        self._record(
            Taken(
                at_s=now_s,
                machine=number,
                queue_ms=timings["queue_ms"],
                hand_out_ms=(now_s - ticket.since_s) * 1000,
            )
        )
        return PoolLease(held.vm, timings, self, number, self._forget)

    def _forget(self, machine: int) -> None:
        """Note a lease that was lost; called by the garbage collector, at any point."""
        self._forgotten.append(machine)
        if threading.get_ident() == self._thread:  # elsewhere the next tick finds it
            self._wake.set()

    async def _watch_owner(
        self, number: int, process: OwnerProcess, scope: anyio.CancelScope
    ) -> None:
        with scope:
            try:
                await anyio.wait_readable(process.fileno())
            finally:
                process.close()
            self._retire(number, Why.ORPHANED)

    def _note_untold(self) -> None:
        self._totals = self._totals.failed(Step.PUBLISH)

    def _facts(self) -> Facts:
        return Facts(now_s=self._now(), free_bytes=self._memory.free_bytes())

    def _record(self, event: PoolEvent) -> None:
        self._state = event.after(self._state)
        self._totals = self._totals.after(event)
        self._changed.set()
        self._changed = anyio.Event()

    def _happened(self, event: PoolEvent) -> None:
        """Take note of an event, see that what it asks for is done, and decide what follows."""
        self._record(event)
        if self._tasks is None:  # closing: the crew ends everything by itself
            return
        if isinstance(event, Retired):
            self._crew.carry_out(event, self._tasks)
        self._step()
        if isinstance(event, TemplateReady):
            state = self._state
            used = {one.key for one in (state.serving, state.incoming) if one is not None}
            self._crew.keep_sources(used | {one.template for one in state.having(Phase.MAKING)})

    def _retire(self, machine: int, why: Why, step: Step | None = None) -> None:
        """Destroy a machine, unless that is under way already."""
        about = self._state.machines.get(machine)
        if about is not None and about.phase is not Phase.ENDING:
            self._happened(Retired(at_s=self._now(), machine=machine, why=why, step=step))

    def _step(self) -> None:
        """Decide and have it carried out. Nothing in here waits."""
        if self._tasks is None:
            return
        facts = self._facts()
        for decision in decide(self._state, self.settings, facts):
            waiter = None
            if isinstance(decision, HandedOut):
                waiter = self._state.waiter(decision.ticket)
            self._record(decision)
            match decision:
                case HandedOut(machine=machine, ticket=number):
                    self._tickets[number].give(machine, waiter)
                case Refused(ticket=number, why=why):
                    cause = self._crew.last_failure
                    error = refusal(why, self._state, self.settings, facts, cause)
                    self._tickets[number].fail(error)
                case _:
                    self._crew.carry_out(decision, self._tasks)

    async def _keep_watch(self) -> None:
        while True:
            self._wake = anyio.Event()
            self._take_stock()
            await self._crew.measure(self._state.machines.values())
            now_s = self._now()
            due_s = next_due_s(self._state, self.settings, now_s) - now_s
            with anyio.move_on_after(min(max(due_s, _LEAST_WAIT_S), _TICK_S)):
                await self._wake.wait()

    def _take_stock(self) -> None:
        """Find forgotten leases and dead machines, then decide."""
        while self._forgotten:
            self._retire(self._forgotten.popleft(), Why.DROPPED)
        on_the_way = {ticket.machine for ticket in self._tickets.values()}
        for machine in list(self._state.having(Phase.WARM, Phase.LEASED)):
            held = self._crew.held.get(machine.number)
            if machine.number in on_the_way or held is None:
                continue  # checked where it is handed out
            if held.vm.state is VmState.STOPPED:
                step = Step.LEASED if machine.phase is Phase.LEASED else Step.PAUSED
                self._retire(machine.number, Why.LOST, step)
        self._step()


def _closed() -> VmError:
    return VmError("the pool is closed", hint="use it as `async with MachinePool(…)`")
