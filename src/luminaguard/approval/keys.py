"""Which key presses are meant as an answer.

A key counts only if it stands alone: pressed after the card has been on the screen for a moment,
with nothing typed shortly before or after it. So what was typed ahead, a held key, a pasted text,
or the letters of an arrow key's escape sequence never answer the question. Where a whole word is
asked for, it counts only if it was typed letter by letter.
"""

import math
from dataclasses import dataclass, field

ARM_AFTER_S = 0.4
"""From the last drawn line to the first key that can count."""
QUIET_S = 0.15
"""Nothing else may be typed this long before and after a key. A held key repeats every 0.03 s."""

WORD_TAKES_S = 0.35
"""From the first letter of a word to the Enter behind it; a paste takes a few milliseconds."""


@dataclass(slots=True, kw_only=True)
class WordGate:
    """Tells a word that was typed from one that was pasted."""

    takes_s: float = WORD_TAKES_S
    _began_at: float = field(default=math.inf, init=False)
    _last_at: float = field(default=-math.inf, init=False)

    def typed(self, at: float) -> None:
        """Take note of one more letter."""
        self._began_at = min(self._began_at, at)
        self._last_at = at

    def begun_anew(self) -> None:
        """Forget what was typed: the line is empty again, or somebody pasted into it."""
        self._began_at, self._last_at = math.inf, -math.inf

    def is_typed(self, entered_at: float) -> bool:
        """Return whether a hand typed what Enter ends at this time."""
        return entered_at - self._began_at >= self.takes_s and entered_at > self._last_at


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

    def hidden(self) -> None:
        """Let no key count until something is shown again: what is seen is about to change."""
        self._armed_at = math.inf
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
