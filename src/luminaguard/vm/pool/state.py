"""What a pool knows, as one value: its machines, who waits, and which template is in use.

The state is what all events so far made of it (`events.py`); `schedule.py` reads it to decide what
comes next. Nothing here does anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

MIB = 1024 * 1024
FIRST_CLONE_BYTES = 70 * MIB
"""Expected of a warm clone until one was measured. Source: benchmarks/results, 68 MiB once it has
rehearsed a call."""


class Phase(StrEnum):
    """Where a pool's machine stands. Every phase counts towards the limit of machines."""

    MAKING = "making"
    """Being restored, or booted."""
    RESTORED = "restored"
    """Running, has answered; not warm yet."""
    WARMING = "warming"
    """Being exercised and paused."""
    WARM = "warm"
    """In store."""
    LEASED = "leased"
    ENDING = "ending"
    """Being destroyed; its memory is not free yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine of the pool."""

    number: int
    """Never used again in the life of the pool."""
    template: str
    """Key of what it was made from."""
    phase: Phase
    made_s: float = 0.0
    """When the guest had answered first."""
    owner: str = ""
    expires_s: float = float("inf")
    """When its lease runs out."""
    used_bytes: int | None = None
    """Memory that it was last seen to take for itself; None before it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """A request for a machine that was not answered yet."""

    ticket: int
    """Rises with every request."""
    owner: str
    round: int
    """Each owner gets one machine a round, so its further requests are due in later rounds."""
    since_s: float
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateInUse:
    """What machines are made from."""

    key: str
    checked_s: float
    """When it was made, or last found to be the right one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """All that decisions are taken from, besides the settings, the clock and free memory."""

    machines: Mapping[int, Machine] = field(default_factory=dict[int, Machine])
    waiters: tuple[Waiter, ...] = ()
    """By ticket."""
    round: int = 0
    """The round of the last hand-out."""
    last_machine: int = 0
    serving: TemplateInUse | None = None
    """Machines made from this one, and no others, are handed out."""
    incoming: TemplateInUse | None = None
    """Takes over as soon as enough machines were made from it."""
    template_busy: bool = False
    refresh_asked: bool = False
    failures: int = 0
    """Attempts in a row that led to no usable machine."""
    failed_s: float = float("-inf")
    retry_s: float = float("-inf")
    """Nothing is made before."""
    respite_s: float = float("-inf")
    """When the store last began to leave the processors to machines just handed out."""
    warm_bytes: int = FIRST_CLONE_BYTES
    """What a machine in store takes, as measured so far."""
    leased_bytes: int = 2 * FIRST_CLONE_BYTES
    """What a machine in use takes, as measured so far."""

    def having(self, *phases: Phase) -> Iterator[Machine]:
        """Yield the machines in these phases, oldest first."""
        return (machine for machine in self.machines.values() if machine.phase in phases)

    def count(self, *phases: Phase) -> int:
        """Return how many machines are in these phases."""
        return sum(1 for _ in self.having(*phases))

    def waiter(self, ticket: int) -> Waiter | None:
        """Return who waits with this ticket."""
        return next((one for one in self.waiters if one.ticket == ticket), None)

    def with_machine(self, number: int, **changes: Any) -> "PoolState":  # noqa: ANN401 - of fields
        """Return the state in which a machine has changed; the same if it is gone."""
        machine = self.machines.get(number)
        if machine is None:
            return self
        return replace(self, machines={**self.machines, number: replace(machine, **changes)})

    def without_waiter(self, ticket: int) -> "PoolState":
        """Return the state in which who had this ticket was served."""
        return replace(self, waiters=tuple(one for one in self.waiters if one.ticket != ticket))

    def gone_unserved(self, ticket: int) -> "PoolState":
        """Return the state in which nobody waits with this ticket: their later requests move up."""
        gone = self.waiter(ticket)
        if gone is None:
            return self
        moved = (
            replace(one, round=one.round - 1)
            if one.owner == gone.owner and one.round > gone.round
            else one
            for one in self.waiters
            if one.ticket != ticket
        )
        return replace(self, waiters=tuple(moved))

    def expected_bytes(self, machine: Machine) -> int:
        """Return what a machine takes, or will soon have taken."""
        used = machine.used_bytes or 0
        match machine.phase:
            case Phase.LEASED:
                return max(used, self.leased_bytes)
            case Phase.ENDING:
                return used
            case _:
                return used or self.warm_bytes

    @property
    def used_bytes(self) -> int:
        """What all machines take, as measured; as expected for those not measured yet."""
        return sum(
            self.expected_bytes(one) if one.used_bytes is None else one.used_bytes
            for one in self.machines.values()
        )

    @property
    def pending_bytes(self) -> int:
        """What living machines are expected to take yet, on top of what was measured."""
        return sum(
            self.expected_bytes(one) - (one.used_bytes or 0) for one in self.machines.values()
        )
