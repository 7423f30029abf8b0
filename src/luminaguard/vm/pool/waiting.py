"""One request for a machine: how it waits, what it is told, and what the wait is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from luminaguard.errors import LuminaGuardError, PoolFull, VmError
from luminaguard.vm.pool.events import Why
from luminaguard.vm.pool.schedule import Facts, has_memory
from luminaguard.vm.pool.settings import MIB, PoolSettings
from luminaguard.vm.pool.state import Phase, PoolState, Waiter


@dataclass(slots=True, kw_only=True)
class Ticket:
    """A request under way. `called` is set when there is a machine, or an error."""

    number: int
    owner: str
    since_s: float
    called: anyio.Event = field(default_factory=anyio.Event)
    machine: int | None = None
    waiter: Waiter | None = None
    """Its place in the queue, kept in case the machine turns out dead."""
    error: Exception | None = None

    def give(self, machine: int, waiter: Waiter | None) -> None:
        """Call whoever waits: this machine is theirs."""
        self.machine, self.waiter = machine, waiter
        self.called.set()

    def fail(self, error: Exception) -> None:
        """Call whoever waits: they get none."""
        self.error = error
        self.called.set()

    def wait_again(self) -> None:
        """Forget the machine that was given."""
        self.machine = None
        self.called = anyio.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time on the pool's clock, in seconds."""

    begun_s: float
    ended_s: float

    def within_ms(self, since_s: float, until_s: float) -> float:
        """Return how much of it lies between two moments, in milliseconds."""
        return max(min(self.ended_s, until_s) - max(self.begun_s, since_s), 0.0) * 1000


def timings_ms(since_s: float, now_s: float, template: Span, making: Span) -> Mapping[str, float]:
    """Return what a wait was made of: the parts add up to the whole.

    Args:
        since_s: When the machine was asked for.
        now_s: When it was handed out.
        template: When its template was last made or checked.
        making: When the machine was restored or booted.
    """
    restore_ms = making.within_ms(since_s, now_s)
    template_ms = template.within_ms(since_s, min(making.begun_s, now_s))
    queue_ms = max((now_s - since_s) * 1000 - restore_ms - template_ms, 0.0)
    return {"queue_ms": queue_ms, "template_ms": template_ms, "restore_ms": restore_ms}


def refusal(
    why: Why,
    state: PoolState,
    settings: PoolSettings,
    facts: Facts,
    cause: Exception | None,
) -> Exception:
    """Return the error for a request that gets no machine; `cause` is the last failure."""
    if why is Why.BROKEN and cause is not None:
        return _again(cause)
    if why is Why.FULL:
        return PoolFull(
            f"{settings.max_waiting} requests for a machine are waiting already",
            hint="try again later, or raise max_waiting or max_machines in [pool]",
        )
    reason, hint = _shortage(state, settings, facts)
    return PoolFull(f"no machine came free in time: {reason}", hint=hint)


def _shortage(state: PoolState, settings: PoolSettings, facts: Facts) -> tuple[str, str]:
    used = len(state.machines)
    if used >= settings.max_machines:
        return (
            f"all {used} that may run are in use",
            "try again later, or raise max_machines in [pool]",
        )
    if facts.free_bytes is not None and not has_memory(state, settings, facts, state.leased_bytes):
        free = facts.free_bytes // MIB
        return (
            f"memory is short ({free} MiB free, {settings.memory_reserve_mib} MiB of it reserved)",
            "end other programs or sessions, or lower memory_reserve_mib in [pool]",
        )
    making = state.count(Phase.MAKING)
    return (
        f"{making} are still being made, {used} exist",
        "try again, or raise patience_s in [pool]",
    )


def _again(cause: Exception) -> Exception:
    """Return an error of its own for each who is told: a shared one would mix their tracebacks."""
    if isinstance(cause, LuminaGuardError):
        error: Exception = type(cause)(str(cause), hint=cause.hint, **cause.context)
    else:
        error = VmError(f"no machine could be made: {cause or type(cause).__name__}")
    error.__cause__ = cause
    return error
