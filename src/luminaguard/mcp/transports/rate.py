"""How much may come in a time: so much on average, so much at once."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Allowance:
    """A bucket that fills with time; no I/O, no clock of its own."""

    per_s: float
    at_once: float
    at_s: float
    _left: float = field(init=False)

    def __post_init__(self) -> None:
        self._left = self.at_once

    def take(self, amount: float, now_s: float) -> bool:
        """Take so much out; false, and nothing taken, if that is more than there is."""
        grown = self._left + max(0.0, now_s - self.at_s) * self.per_s
        self._left, self.at_s = min(self.at_once, grown), max(now_s, self.at_s)
        if amount > self._left:
            return False
        self._left -= amount
        return True
