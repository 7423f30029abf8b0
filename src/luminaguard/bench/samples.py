"""Raw samples and what can honestly be said about them."""

import statistics
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What counts as good, where that was set, and what it is measured against."""

    ms: float | None = None
    floor: str | None = None
    """Name of the figure that nothing could be faster than, taken in the same run."""


@dataclass(slots=True)
class Samples:
    """Figure → milliseconds, one for each time it was measured, in order."""

    taken: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    @contextmanager
    def timed(self, name: str) -> Generator[None]:
        """Measure the body by the monotonic clock."""
        started = time.perf_counter()
        yield
        self.add(name, (time.perf_counter() - started) * 1000)

    def add(self, name: str, ms: float) -> None:
        """Keep one sample."""
        self.taken.setdefault(name, []).append(round(ms, 3))

    def median(self, name: str) -> float:
        """Return a figure's median."""
        return statistics.median(self.taken[name])

    def rows(self, targets: Mapping[str, Target]) -> list[dict[str, object]]:
        """Return each figure with median, range, count, target and ratio to its floor."""
        return [self._row(name, targets.get(name)) for name in self.taken]

    def _row(self, name: str, target: Target | None) -> dict[str, object]:
        values = self.taken[name]
        row: dict[str, object] = {
            "figure": name,
            "median_ms": round(self.median(name), 1),
            "min_ms": round(min(values), 1),
            "max_ms": round(max(values), 1),
            "n": len(values),
            "target_ms": target.ms if target else None,
            "floor": None,
            "ratio": None,
        }
        if target and target.floor in self.taken:
            row["floor"] = target.floor
            row["ratio"] = round(self.median(name) / self.median(target.floor), 2)
        return row
