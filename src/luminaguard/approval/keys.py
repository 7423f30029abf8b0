"""Which key presses are meant as an answer.

A key counts only if it stands alone: pressed after the card has been on the screen for a moment,
with nothing typed shortly before or after it. So what was typed ahead, a held key, a pasted text,
or the letters of an arrow key's escape sequence never answer the question.
"""

import math
from dataclasses import dataclass, field

ARM_AFTER_S = 0.4
"""From the last drawn line to the first key that can count."""
QUIET_S = 0.15
"""Nothing else may be typed this long before and after a key. A held key repeats every 0.03 s."""


@dataclass(slots=True, kw_only=True)
class KeyGate:
    """Fed with typed bytes and times in seconds; holds no clock of its own."""

    arm_after_s: float = ARM_AFTER_S
    quiet_s: float = QUIET_S
    _armed_at: float = field(default=math.inf, init=False)
    _candidate: bytes = field(default=b"", init=False)
    _settled_at: float = field(default=math.inf, init=False)

    def shown(self, at: float) -> None:
        """Begin anew: something was drawn, and no key pressed before now counts."""
        self._armed_at = at + self.arm_after_s
        self._candidate, self._settled_at = b"", math.inf

    def typed(self, keys: bytes, at: float) -> None:
        """Take note of typed bytes; they may become an answer, or spoil one."""
        alone = len(keys) == 1 and at >= self._armed_at
        self._armed_at = max(self._armed_at, at + self.quiet_s)
        self._candidate = keys if alone else b""
        self._settled_at = at + self.quiet_s if alone else math.inf

    def answer(self, at: float) -> bytes:
        """Return the key that counts by now, once; nothing if there is none."""
        if at < self._settled_at:
            return b""
        key, self._candidate, self._settled_at = self._candidate, b"", math.inf
        return key

    def is_armed(self, at: float) -> bool:
        """Return whether a key pressed now could count."""
        return at >= self._armed_at and not self._candidate

    def wait_s(self, at: float) -> float:
        """Return how long nothing changes here unless something is typed."""
        if self._candidate:
            return max(0.0, self._settled_at - at)
        return self._armed_at - at if at < self._armed_at else math.inf
