"""How often somebody may give a wrong secret."""

from collections.abc import Callable
from dataclasses import dataclass, field

FREE = 3
"""Wrong ones without a wait: people mistype."""
LONGEST_WAIT_S = 300.0


@dataclass(slots=True)
class Attempts:
    """Wrong attempts on one desk: after a few, each doubles the time until the next one counts."""

    steady: Callable[[], float]
    _wrong: int = field(default=0, init=False)
    _until_s: float = field(default=0.0, init=False)

    def wait_s(self) -> float:
        """Return the seconds until an attempt is looked at again; 0: at once."""
        return max(0.0, self._until_s - self.steady())

    def wrong(self) -> None:
        """Count a wrong one."""
        self._wrong += 1
        over = self._wrong - FREE
        if over >= 0:
            self._until_s = self.steady() + min(2.0**over, LONGEST_WAIT_S)

    def right(self) -> None:
        """Forget the wrong ones."""
        self._wrong = 0
