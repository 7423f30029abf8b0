"""Everything that happens in a pool, one value per event, each with what it makes of the state.

Some are decisions (`schedule.py` takes them, the pool carries them out), the others are reports of
what came of it. State and figures are folds over the same events, so they cannot drift apart.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from luminaguard.vm.pool.state import Machine, Phase, PoolState, TemplateInUse, Waiter

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 30.0
_RESPITE_AGAIN_S = 1.0
HOPELESS = 3
"""Failures in a row after which waiting for the next attempt would only waste time."""


class Step(StrEnum):
    """What can fail."""

    TEMPLATE = "template"
    RESTORE = "restore"
    EXERCISE = "exercise"
    HAND_OUT = "hand-out"
    PAUSED = "paused"
    """A machine in store died."""
    LEASED = "leased"
    """A machine in use died."""
    STOP = "stop"
    PUBLISH = "publish"


class Why(StrEnum):
    """Why a machine is destroyed, or a request refused."""

    RELEASED = "released"
    DROPPED = "dropped"
    """The lease was forgotten without a release."""
    ORPHANED = "orphaned"
    """The process that owned the lease has ended."""
    EXPIRED = "expired"
    AGED = "aged"
    STALE = "stale"
    """Its template is no longer the right one."""
    SURPLUS = "surplus"
    MEMORY = "memory"
    """Memory became short; or none was left for a further machine."""
    ROOM = "room"
    """To make room for a machine of the new template."""
    LOST = "lost"
    FAILED = "failed"
    FULL = "full"
    """Too many were waiting."""
    LATE = "late"
    """None came free within the request's patience."""
    BROKEN = "broken"
    """Machines cannot be made at present."""


class PoolEvent(Protocol):
    """Something that happened at `at_s` on the pool's clock."""

    @property
    def at_s(self) -> float:
        """When."""
        ...

    def after(self, state: PoolState) -> PoolState:
        """Return what it makes of the state."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Somebody asks for a machine."""

    at_s: float
    ticket: int
    owner: str
    deadline_s: float

    def after(self, state: PoolState) -> PoolState:
        """Let them wait; each owner's n-th request is due n rounds after the present one."""
        own = (one.round for one in state.waiters if one.owner == self.owner)
        waiter = Waiter(
            ticket=self.ticket,
            owner=self.owner,
            round=max(state.round, *own, -1) + 1,
            since_s=self.at_s,
            deadline_s=self.deadline_s,
        )
        return replace(state, waiters=(*state.waiters, waiter))


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued:
    """What somebody was given turned out dead: they wait again, in their old place."""

    at_s: float
    waiter: Waiter

    def after(self, state: PoolState) -> PoolState:
        """Put them back."""
        waiters = sorted((*state.waiters, self.waiter), key=lambda one: one.ticket)
        return replace(state, waiters=tuple(waiters))


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp:
    """Somebody no longer waits."""

    at_s: float
    ticket: int

    def after(self, state: PoolState) -> PoolState:
        """Forget them."""
        return state.gone_unserved(self.ticket)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Somebody is told that they get no machine."""

    at_s: float
    ticket: int
    why: Why

    def after(self, state: PoolState) -> PoolState:
        """Forget them."""
        return state.gone_unserved(self.ticket)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOut:
    """A machine becomes a waiter's own."""

    at_s: float
    machine: int
    ticket: int
    expires_s: float

    def after(self, state: PoolState) -> PoolState:
        """Lease it."""
        waiter = state.waiter(self.ticket)
        if waiter is None:
            return state
        leased = state.without_waiter(self.ticket).with_machine(
            self.machine, phase=Phase.LEASED, owner=waiter.owner, expires_s=self.expires_s
        )
        # Not at each hand-out: under a steady stream of them the store must still be filled.
        is_due = self.at_s >= state.respite_s + _RESPITE_AGAIN_S
        respite_s = self.at_s if is_due else state.respite_s
        return replace(leased, round=max(state.round, waiter.round), respite_s=respite_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A leased machine proved alive, and its owner has it."""

    at_s: float
    machine: int
    queue_ms: float
    """What the owner waited for others, or for room."""
    hand_out_ms: float
    """From the request to the machine."""

    def after(self, state: PoolState) -> PoolState:
        """Note that machines work."""
        return replace(state, failures=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """An owner still needs its machine."""

    at_s: float
    machine: int
    expires_s: float

    def after(self, state: PoolState) -> PoolState:
        """Let the lease run from now."""
        return state.with_machine(self.machine, expires_s=self.expires_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateBegun:
    """The template is being made, or compared with what it should be."""

    at_s: float

    def after(self, state: PoolState) -> PoolState:
        """Note it."""
        return replace(state, template_busy=True, refresh_asked=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateReady:
    """There is a template that fits the image, the VMM and the host of this moment."""

    at_s: float
    key: str

    def after(self, state: PoolState) -> PoolState:
        """Use it: at once if there was none, else when enough machines were made from it."""
        template = TemplateInUse(key=self.key, checked_s=self.at_s)
        if state.serving is None or state.serving.key == self.key:
            return replace(state, template_busy=False, serving=template, incoming=None)
        return replace(state, template_busy=False, incoming=template)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFailed:
    """There is no template to be had now."""

    at_s: float

    def after(self, state: PoolState) -> PoolState:
        """Try again later; nobody needs to wait for that."""
        return _failed(replace(state, template_busy=False), self.at_s, hopeless=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshAsked:
    """The template may have to be made anew."""

    at_s: float

    def after(self, state: PoolState) -> PoolState:
        """Note it."""
        return replace(state, refresh_asked=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """The incoming template takes over."""

    at_s: float

    def after(self, state: PoolState) -> PoolState:
        """Serve from it only."""
        return replace(state, serving=state.incoming, incoming=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MakingBegun:
    """A machine is being made."""

    at_s: float
    machine: int
    template: str

    def after(self, state: PoolState) -> PoolState:
        """Count it from now on."""
        machine = Machine(number=self.machine, template=self.template, phase=Phase.MAKING)
        machines = {**state.machines, self.machine: machine}
        return replace(state, machines=machines, last_machine=max(state.last_machine, self.machine))


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A machine's guest has answered."""

    at_s: float
    machine: int
    spawn_ms: float

    def after(self, state: PoolState) -> PoolState:
        """It can be handed out, or warmed."""
        return state.with_machine(self.machine, phase=Phase.RESTORED, made_s=self.at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class MakingFailed:
    """A machine did not come to be; there is nothing to destroy."""

    at_s: float
    machine: int
    stale: bool
    """The template is to blame."""
    hopeless: bool
    """Trying again changes nothing."""

    def after(self, state: PoolState) -> PoolState:
        """Forget the machine, and try again later."""
        left = _without(state, self.machine)
        asked = left.refresh_asked or self.stale
        return _failed(replace(left, refresh_asked=asked), self.at_s, hopeless=self.hopeless)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmingBegun:
    """A machine is being exercised and paused."""

    at_s: float
    machine: int

    def after(self, state: PoolState) -> PoolState:
        """Note it."""
        return state.with_machine(self.machine, phase=Phase.WARMING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """A machine is in store."""

    at_s: float
    machine: int

    def after(self, state: PoolState) -> PoolState:
        """Machines work: forget earlier failures."""
        return replace(state.with_machine(self.machine, phase=Phase.WARM), failures=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a machine takes of this host's memory was read."""

    at_s: float
    machine: int
    used_bytes: int

    def after(self, state: PoolState) -> PoolState:
        """Learn from it what to expect of others in the same phase."""
        machine = state.machines.get(self.machine)
        if machine is None:
            return state
        known = state.with_machine(self.machine, used_bytes=self.used_bytes)
        if machine.phase is Phase.LEASED:
            return replace(known, leased_bytes=_learned(state.leased_bytes, self.used_bytes))
        if machine.phase is Phase.WARM:
            return replace(known, warm_bytes=_learned(state.warm_bytes, self.used_bytes))
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A machine is being destroyed. Nobody gets it any more, whatever happens next."""

    at_s: float
    machine: int
    why: Why
    step: Step | None = None
    """What failed, if something did."""

    def after(self, state: PoolState) -> PoolState:
        """Let it end; what keeps failing is tried again ever more slowly."""
        before = state.machines.get(self.machine)
        ending = state.with_machine(self.machine, phase=Phase.ENDING)
        in_use = before is None or before.phase is Phase.LEASED
        if self.step is None or (in_use and self.step is not Step.HAND_OUT):
            return ending
        return _failed(ending, self.at_s, hopeless=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A machine is gone, and so is its process."""

    at_s: float
    machine: int
    step: Step | None = None

    def after(self, state: PoolState) -> PoolState:
        """Forget it."""
        return _without(state, self.machine)


def _without(state: PoolState, number: int) -> PoolState:
    left = {key: machine for key, machine in state.machines.items() if key != number}
    return replace(state, machines=left)


def _failed(state: PoolState, at_s: float, *, hopeless: bool) -> PoolState:
    failures = max(state.failures + 1, HOPELESS) if hopeless else state.failures + 1
    wait_s = min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 16), LAST_RETRY_S)
    return replace(state, failures=failures, failed_s=at_s, retry_s=at_s + wait_s)


def _learned(expected: int, seen: int) -> int:
    """Follow what was seen, up faster than down: to expect too little would exhaust memory."""
    return expected + (seen - expected) // (4 if seen > expected else 8)
