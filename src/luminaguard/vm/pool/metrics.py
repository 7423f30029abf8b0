"""What can be told of a pool: figures that are a fold over its events, and nothing else.

`Totals` counts; `PoolMetrics` is what users and programs read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import cast

from luminaguard.domain.calls import JsonValue
from luminaguard.vm.pool.events import (
    Ended,
    MakingFailed,
    PoolEvent,
    Queued,
    Refused,
    Restored,
    Retired,
    Step,
    Taken,
    TemplateFailed,
    Warmed,
)
from luminaguard.vm.pool.schedule import Facts
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.pool.state import Phase, PoolState

_SAMPLES = 1024
"""Latest hand-outs and spawns that averages and percentiles are taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Nearest-rank percentiles in milliseconds over the latest `n` samples; None without any."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    n: int = 0

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Percentiles":
        """Return those of `samples`."""
        if not samples:
            return cls()
        ranked = sorted(samples)

        def at(percent: int) -> float:
            return round(ranked[ceil(len(ranked) * percent / 100) - 1], 3)

        return cls(p50=at(50), p95=at(95), p99=at(99), n=len(ranked))

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON form."""
        return {"p50": self.p50, "p95": self.p95, "p99": self.p99, "n": self.n}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts since the pool was opened, and the latest samples."""

    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """"requested", "spawned", "warmed", "handed_out", "refused", "retired", "ended",
    and each reason: "refused.late", "retired.aged", …"""
    failures: Mapping[Step, int] = field(default_factory=dict[Step, int])
    spawn_ms: tuple[float, ...] = ()
    queue_ms: tuple[float, ...] = ()
    hand_out_ms: tuple[float, ...] = ()

    def after(self, event: PoolEvent) -> "Totals":
        """Return the totals with one more event."""
        match event:
            case Queued():
                return self._plus("requested")
            case Restored(spawn_ms=spawn_ms):
                return replace(self._plus("spawned"), spawn_ms=_with(self.spawn_ms, spawn_ms))
            case Warmed():
                return self._plus("warmed")
            case Taken(queue_ms=queue_ms, hand_out_ms=hand_out_ms):
                return replace(
                    self._plus("handed_out"),
                    queue_ms=_with(self.queue_ms, queue_ms),
                    hand_out_ms=_with(self.hand_out_ms, hand_out_ms),
                )
            case Refused(why=why):
                return self._plus("refused", f"refused.{why}")
            case Retired(why=why):
                return self._plus("retired", f"retired.{why}").failed(event.step)
            case _:
                return self._after_failure(event)

    def _after_failure(self, event: PoolEvent) -> "Totals":
        match event:
            case MakingFailed():
                return self.failed(Step.RESTORE)
            case TemplateFailed():
                return self.failed(Step.TEMPLATE)
            case Ended():
                return self._plus("ended").failed(event.step)
            case _:
                return self

    def failed(self, step: Step | None) -> "Totals":
        """Return the totals with one more failure of this step; None: nothing failed."""
        if step is None:
            return self
        return replace(self, failures={**self.failures, step: self.failures.get(step, 0) + 1})

    def _plus(self, *names: str) -> "Totals":
        more = {name: self.counts.get(name, 0) + 1 for name in names}
        return replace(self, counts={**self.counts, **more})


def _with(samples: tuple[float, ...], sample: float) -> tuple[float, ...]:
    return (*samples[-_SAMPLES + 1 :], sample)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMetrics:
    """A pool at one moment. Times in milliseconds unless the name says otherwise."""

    active_vms: int
    """Machines in use: handed out, and neither released nor lost."""
    queued_tasks: int
    """Requests that wait for a machine."""
    avg_spawn_time_ms: float | None
    """Mean from the request for a machine to its guest's first answer, over the latest 1,024
    machines made; None before the first."""
    snapshot_freshness: float | None
    """Seconds since the template in use was made, or was last found to be what this image, VMM,
    agent and host lead to; None before there is one."""
    paused: int
    """Machines in store: exercised, paused, ready to be handed out."""
    starting: int
    """Machines being made or warmed."""
    ending: int
    """Machines being destroyed."""
    capacity: int
    """Most machines that may be alive at the same time."""
    size: int
    """Machines that the pool wants in store."""
    max_waiting: int
    queue_wait_ms: Percentiles
    """What requests waited for others or for room, without the time their machine took to make."""
    hand_out_ms: Percentiles
    """From the request to a machine that has proved to be alive."""
    failures: Mapping[str, int]
    """By phase: template, restore, exercise, hand-out, paused, leased, stop, publish."""
    totals: Mapping[str, int]
    """Since the pool was opened."""
    memory_limit_bytes: int | None
    """What its machines may take: what they take, and what is free beyond the reserve. None where
    this host does not tell."""
    memory_used_bytes: int
    """What its machines take for themselves, as measured; expected, where not measured yet."""
    clone_bytes: int
    """What a machine in store takes, on average."""
    template: str | None
    """Key of the template in use."""
    refreshing: bool
    """A new template is taking over."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON form: the same names; percentiles as objects."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        for name in ("queue_wait_ms", "hand_out_ms"):
            plain[name] = plain[name].as_json()
        for name in ("failures", "totals"):
            plain[name] = {str(key): count for key, count in sorted(plain[name].items())}
        return cast("dict[str, JsonValue]", plain)


def measure(state: PoolState, totals: Totals, settings: PoolSettings, facts: Facts) -> PoolMetrics:
    """Return the metrics of a pool in this state."""
    serving, used_bytes = state.serving, state.used_bytes
    now_s, free_bytes = facts.now_s, facts.free_bytes
    spawned = totals.spawn_ms
    limit_bytes = None
    if free_bytes is not None:
        limit_bytes = used_bytes + max(free_bytes - settings.memory_reserve_bytes, 0)
    return PoolMetrics(
        active_vms=state.count(Phase.LEASED),
        queued_tasks=len(state.waiters),
        avg_spawn_time_ms=round(sum(spawned) / len(spawned), 3) if spawned else None,
        snapshot_freshness=round(max(now_s - serving.checked_s, 0.0), 3) if serving else None,
        paused=state.count(Phase.WARM),
        starting=state.count(Phase.MAKING, Phase.RESTORED, Phase.WARMING),
        ending=state.count(Phase.ENDING),
        capacity=settings.max_machines,
        size=settings.size,
        max_waiting=settings.max_waiting,
        queue_wait_ms=Percentiles.of(totals.queue_ms),
        hand_out_ms=Percentiles.of(totals.hand_out_ms),
        failures={step.value: count for step, count in totals.failures.items()},
        totals=totals.counts,
        memory_limit_bytes=limit_bytes,
        memory_used_bytes=used_bytes,
        clone_bytes=state.warm_bytes,
        template=serving.key if serving else None,
        refreshing=state.incoming is not None,
    )
