"""Raw samples and what can honestly be said about them."""

import statistics
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What counts as good, where that was set, and what a figure is measured against."""

    p50: float | None = None
    """Half of the samples should not be above this."""
    p95: float | None = None
    """Neither should 19 of 20 be above this."""
    floor: str | None = None
    """Name of the figure that nothing could be faster than, taken in the same run."""
    unit: str = "ms"


@dataclass(slots=True)
class Samples:
    """Figure → values, one for each time it was measured, in order; milliseconds by default."""

    taken: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    unavailable: dict[str, str] = field(default_factory=dict[str, str])
    """Figure → why it could not be measured here, and how it could be."""

    @contextmanager
    def timed(self, name: str) -> Generator[None]:
        """Measure the body by the monotonic clock."""
        started = time.perf_counter()
        yield
        self.add(name, (time.perf_counter() - started) * 1000)

    def add(self, name: str, value: float) -> None:
        """Keep one sample."""
        self.taken.setdefault(name, []).append(round(value, 3))

    def median(self, name: str) -> float:
        """Return a figure's median."""
        return statistics.median(self.taken[name])

    def p95(self, name: str) -> float:
        """Return the smallest sample that at least 95 % are not above."""
        ordered = sorted(self.taken[name])
        return ordered[ceil(len(ordered) * 0.95) - 1]

    def rows(self, targets: Mapping[str, Target]) -> list[dict[str, object]]:
        """Return each figure with its range, count, targets and ratio to its floor."""
        return [self._row(name, targets.get(name, Target())) for name in self.taken]

    def _row(self, name: str, target: Target) -> dict[str, object]:
        values = self.taken[name]
        row: dict[str, object] = {
            "figure": name,
            "unit": target.unit,
            "median": round(self.median(name), 1),
            "min": round(min(values), 1),
            "p95": round(self.p95(name), 1),
            "max": round(max(values), 1),
            "n": len(values),
            "target": target.p50,
            "target_p95": target.p95,
            "floor": None,
            "ratio": None,
        }
        if target.floor in self.taken:
            row["floor"] = target.floor
            row["ratio"] = round(self.median(name) / self.median(target.floor), 2)
        return row
