"""Whether an endpoint is asked: a circuit breaker, as values.

CLOSED it is asked; after some failures in a row OPEN it is not; after a while HALF_OPEN one request
may try, and its end decides. Each further opening lasts longer.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Circuit(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When it opens, and for how long."""

    failures: int = 3
    """In a row, until it opens."""
    first_open_s: float = 1.0
    longest_open_s: float = 30.0
    probe_s: float = 60.0
    """After so long without an end, a probe counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """One endpoint's. Every method returns the breaker as it is afterwards."""

    settings: BreakerSettings = BreakerSettings()
    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    """In a row."""
    openings: int = 0
    """In a row."""
    until_s: float = 0.0
    """OPEN: when it may be tried; HALF_OPEN: when the probe counts as failed."""

    def may_send(self, now_s: float) -> bool:
        """Whether any request may go there."""
        return self.circuit is Circuit.CLOSED or self.is_due(now_s)

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for a probe."""
        return self.circuit is not Circuit.CLOSED and now_s >= self.until_s

    def probing(self, now_s: float) -> "Breaker":
        """A probe is on its way; until it ends, no other is."""
        if not self.is_due(now_s):
            return self
        return replace(self, circuit=Circuit.HALF_OPEN, until_s=now_s + self.settings.probe_s)

    def succeeded(self) -> "Breaker":
        """It answered."""
        return Breaker(settings=self.settings)

    def failed(self, now_s: float, *, at_once: bool = False, wait_s: float = 0.0) -> "Breaker":
        """It did not answer.

        Args:
            now_s: When that became known.
            at_once: It opens with this failure: nobody listens there, or it is known to be wrong.
            wait_s: How long the endpoint itself wants to be left alone.
        """
        failures = self.failures + 1
        if self.circuit is Circuit.OPEN:
            return replace(self, failures=failures, until_s=max(self.until_s, now_s + wait_s))
        opens = at_once or wait_s > 0 or self.circuit is Circuit.HALF_OPEN
        if not opens and failures < self.settings.failures:
            return replace(self, failures=failures)
        grown = self.settings.first_open_s * 2.0 ** min(self.openings, 30)
        open_s = wait_s or min(grown, self.settings.longest_open_s)
        return replace(
            self,
            circuit=Circuit.OPEN,
            failures=failures,
            openings=self.openings + 1,
            until_s=now_s + open_s,
        )
