"""What a pool does next: a pure function of its state, its settings, the clock and free memory.

`decide` returns decisions as events; folding them into the state and deciding again yields nothing
new until something happens or time passes. The pool carries them out and reports back in events.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from luminaguard.vm.pool.events import (
    HOPELESS,
    HandedOut,
    MakingBegun,
    PoolEvent,
    Refused,
    Retired,
    Switched,
    TemplateBegun,
    WarmingBegun,
    Why,
)
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.pool.state import Machine, Phase, PoolState, Waiter

RESPITE_S = 0.3
"""After a hand-out the store is not filled for this long: making a machine takes the processors
that the first command in the other one needs."""
_EARLY = 0.1
"""Part of a machine's life, at its end, in which its replacement is already being made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a decision rests on besides state and settings."""

    now_s: float
    free_bytes: int | None
    """Memory that could be taken now without harm; None where nobody can tell."""


def decide(state: PoolState, settings: PoolSettings, facts: Facts) -> tuple[PoolEvent, ...]:
    """Return what to do now, in order."""
    plan = _Plan(state, settings, facts)
    known = -1
    while known < len(plan.decisions):  # a decision can call for others
        known = len(plan.decisions)
        plan.expire()
        plan.look_at_template()
        plan.discard()
        plan.hand_out()
        plan.switch()
        plan.refuse()
        plan.trim()
        plan.warm()
        plan.make()
        plan.save_memory()
    return tuple(plan.decisions)


def next_due_s(state: PoolState, settings: PoolSettings, now_s: float) -> float:
    """Return when time alone will next call for a decision; infinity if it will not."""
    due = [waiter.deadline_s for waiter in state.waiters]
    due += [machine.expires_s for machine in state.having(Phase.LEASED)]
    for machine in state.having(Phase.WARM):
        due += [_replace_s(machine, settings), machine.made_s + settings.max_age_s]
    due += [state.retry_s, state.respite_s + RESPITE_S]
    if state.serving is not None:
        due.append((state.incoming or state.serving).checked_s + settings.check_s)
    return min((at_s for at_s in due if at_s > now_s), default=float("inf"))


def has_memory(state: PoolState, settings: PoolSettings, facts: Facts, wanted_bytes: int) -> bool:
    """Whether a further machine may take this much and still leave the reserve to others."""
    if facts.free_bytes is None:
        return True
    free_bytes = facts.free_bytes - settings.memory_reserve_bytes - state.pending_bytes
    return free_bytes >= wanted_bytes


class _Plan:
    """Decisions taken so far, and the state that they lead to."""

    def __init__(self, state: PoolState, settings: PoolSettings, facts: Facts) -> None:
        self.state = state
        self.decisions: list[PoolEvent] = []
        self._settings = settings
        self._now_s = facts.now_s
        self._facts = facts

    def _take(self, decision: PoolEvent) -> None:
        self.decisions.append(decision)
        self.state = decision.after(self.state)

    def _retire(self, machine: Machine, why: Why) -> None:
        self._take(Retired(at_s=self._now_s, machine=machine.number, why=why))

    def refuse(self) -> None:
        """Refuse those left waiting in vain, and those beyond the bound of the queue."""
        settings, vain = self._settings, self._is_vain()
        for waiter in self.state.waiters:
            if vain and waiter.since_s <= self.state.failed_s:
                self._refuse(waiter, Why.BROKEN)
        while len(self.state.waiters) > settings.max_waiting:
            self._refuse(_last_of_greediest(self.state.waiters), Why.FULL)

    def _is_vain(self) -> bool:
        return self.state.failures >= HOPELESS and not self.state.count(Phase.MAKING)

    def _refuse(self, waiter: Waiter, why: Why) -> None:
        self._take(Refused(at_s=self._now_s, ticket=waiter.ticket, why=why))

    def expire(self) -> None:
        """Refuse who waited too long, and end leases that ran out."""
        for waiter in self.state.waiters:
            if waiter.deadline_s <= self._now_s:
                self._refuse(waiter, Why.LATE)
        for machine in list(self.state.having(Phase.LEASED)):
            if machine.expires_s <= self._now_s:
                self._retire(machine, Why.EXPIRED)

    def look_at_template(self) -> None:
        """Have the template made, or compared, when it is time."""
        state = self.state
        if state.template_busy or state.retry_s > self._now_s:
            return
        newest = state.incoming or state.serving
        asked = state.refresh_asked or newest is None
        if asked or (newest and newest.checked_s + self._settings.check_s <= self._now_s):
            self._take(TemplateBegun(at_s=self._now_s))

    def hand_out(self) -> None:
        """Give ready machines to those who wait, one to each owner a round."""
        ready = list(self._ready())
        due = sorted(self.state.waiters, key=lambda waiter: (waiter.round, waiter.ticket))
        for machine, waiter in zip(ready, due, strict=False):
            self._take(
                HandedOut(
                    at_s=self._now_s,
                    machine=machine.number,
                    ticket=waiter.ticket,
                    expires_s=self._now_s + self._settings.lease_s,
                )
            )

    def _ready(self) -> Iterator[Machine]:
        """Yield what may be handed out, warm ones first, the oldest of them first.

        What is too old has been discarded before.
        """
        serving = self.state.serving
        for phase in (Phase.WARM, Phase.RESTORED):
            for machine in self.state.having(phase):
                if serving is not None and machine.template == serving.key:
                    yield machine

    def switch(self) -> None:
        """Let the incoming template take over, once its machines can stand in for the others."""
        state = self.state
        if state.incoming is None or state.serving is None:
            return
        serving, incoming = state.serving.key, state.incoming.key
        old = any(one.template == serving for one in state.having(Phase.WARM, Phase.WARMING))
        new = sum(one.template == incoming for one in state.having(Phase.WARM))
        if new >= self._settings.size or not old:
            self._take(Switched(at_s=self._now_s))

    def discard(self) -> None:
        """Retire machines in store that are too old, or of a template no longer in use."""
        state, settings = self.state, self._settings
        known = self._templates()
        for machine in list(state.having(Phase.WARM, Phase.RESTORED)):
            if machine.template not in known:
                self._retire(machine, Why.STALE)
            elif machine.made_s + settings.max_age_s <= self._now_s:
                self._retire(machine, Why.AGED)

    def _templates(self) -> set[str]:
        state = self.state
        return {one.key for one in (state.serving, state.incoming) if one is not None}

    def trim(self) -> None:
        """Retire what is in store beyond its size, the oldest first: others have replaced it."""
        for key in self._templates():
            warm = [one for one in self.state.having(Phase.WARM) if one.template == key]
            for machine in warm[: max(len(warm) - self._settings.size, 0)]:
                self._retire(machine, Why.AGED if self._is_late(machine) else Why.SURPLUS)

    def _is_late(self, machine: Machine) -> bool:
        return _replace_s(machine, self._settings) <= self._now_s

    def warm(self) -> None:
        """Warm restored machines that nobody waits for, as far as the store needs them."""
        target = self._target()
        for machine in list(self.state.having(Phase.RESTORED)):
            if machine.template == target and self._stored() < self._settings.size:
                self._take(WarmingBegun(at_s=self._now_s, machine=machine.number))
            else:
                self._retire(machine, Why.SURPLUS)

    def _stored(self) -> int:
        """Return how many machines of the newest template are in store and stay there a while."""
        target = self._target()
        return sum(
            one.template == target and not self._is_late(one)
            for one in self.state.having(Phase.WARM, Phase.WARMING)
        )

    def _target(self) -> str | None:
        """Return the key of the template that the store is filled from."""
        newest = self.state.incoming or self.state.serving
        return newest.key if newest is not None else None

    def make(self) -> None:
        """Make machines for those who wait, and for the store, as far as there is room."""
        target = self._target()
        if target is None or self._is_in_doubt():
            return
        while self._wanted(target) > 0 and self._has_hands():
            if not self._has_room():
                self._make_room(target)
                return
            number = self.state.last_machine + 1
            self._take(MakingBegun(at_s=self._now_s, machine=number, template=target))

    def _is_in_doubt(self) -> bool:
        """Whether making a machine now would likely fail again."""
        state = self.state
        checking = state.refresh_asked or (state.template_busy and state.failures > 0)
        return checking or state.retry_s > self._now_s

    def _wanted(self, template: str) -> int:
        coming = [one for one in self.state.having(Phase.MAKING) if one.template == template]
        is_respite = self._now_s < self.state.respite_s + RESPITE_S
        missing = 0 if is_respite else max(self._settings.size - self._stored(), 0)
        return len(self.state.waiters) + missing - len(coming)

    def _has_hands(self) -> bool:
        """Whether another machine can be made at the same time; warming waits for those in need."""
        busy = self.state.count(Phase.MAKING)
        if not self.state.waiters:
            busy += self.state.count(Phase.WARMING)
        return busy < self._settings.at_once

    def _has_room(self) -> bool:
        state, waiting = self.state, bool(self.state.waiters)
        if len(state.machines) >= self._settings.max_machines:
            return False
        wanted_bytes = state.leased_bytes if waiting else state.warm_bytes
        return has_memory(state, self._settings, self._facts, wanted_bytes)

    def _make_room(self, template: str) -> None:
        """Where old and new machines do not fit side by side, exchange them one by one."""
        old = [one for one in self.state.having(Phase.WARM) if one.template != template]
        if old and not self.state.count(Phase.ENDING, Phase.MAKING, Phase.WARMING):
            self._retire(old[0], Why.ROOM)

    def save_memory(self) -> None:
        """Give the store's memory back, one machine at a time, when half the reserve is gone.

        Far below the point up to which machines are made, so that the two never chase each other.
        """
        free_bytes, reserve_bytes = self._facts.free_bytes, self._settings.memory_reserve_bytes
        if free_bytes is None or free_bytes >= reserve_bytes // 2:
            return
        store = list(self.state.having(Phase.WARM))
        if store and not self.state.count(Phase.ENDING):
            self._retire(store[0], Why.MEMORY)


def _replace_s(machine: Machine, settings: PoolSettings) -> float:
    """Return from when on a machine in store no longer counts as one, and is replaced."""
    return machine.made_s + settings.max_age_s * (1 - _EARLY)


def _last_of_greediest(waiters: tuple[Waiter, ...]) -> Waiter:
    """Return the newest request of whoever has most waiting: nobody fills the queue alone."""
    most = Counter(waiter.owner for waiter in waiters)
    return max(waiters, key=lambda waiter: (most[waiter.owner], waiter.ticket))
