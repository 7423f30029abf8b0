"""When keys count on the screen: only after the card was drawn, and still, for a moment.

Every move on the screen disarms: another card, a scroll, a resize, an opened dialog, the focus
coming back to the window. Where the terminal answers questions, it is asked whether it has drawn
everything before the moment begins, so a slow connection cannot show one card while keys count for
another. A key is judged by when it was typed, not by when it was handled.
"""

import math
from collections.abc import Callable
from typing import Protocol

from luminaguard.approval.keys import KeyGate

REST_S = 0.05
"""The screen is still when nothing moved for so long: not each line of a scroll is asked about."""
ANSWER_S = 3.0
"""A terminal that has answered before is waited for; after so long it is asked again."""


class Stage(Protocol):
    """What arming needs of the app and its terminal."""

    def clock(self) -> float:
        """Return seconds on the clock that typed keys are stamped with."""
        ...

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` after a time, and after everything typed until then was handled."""
        ...

    def has_sent(self) -> bool:
        """Return whether all that was drawn has left for the terminal."""
        ...

    def ask_drawn(self) -> bool:
        """Ask the terminal to tell, by `Arming.drawn`, that it has drawn everything.

        Returns whether it will: not every terminal can.
        """
        ...

    def armed(self, *, is_armed: bool) -> None:
        """Take note of whether keys count now."""
        ...

    def pressed(self, key: str, subject: str) -> None:
        """Act on a key that counts, pressed while `subject` was on the screen."""
        ...


class Arming:
    """Decides which key presses are meant as an answer, and for what."""

    def __init__(self, stage: Stage, gate: KeyGate) -> None:
        """Begin disarmed; keys count some time after the first `moved`."""
        self._stage = stage
        self._gate = gate
        self.subject = ""
        """What keys would be about once they count; empty: nothing."""
        self._is_resting = False
        self._moved_at = 0.0
        self._asked = 0
        """Answers of the terminal still to come; they come in the order of the questions."""
        self._moves = 0

    @property
    def is_armed(self) -> bool:
        """Whether a key pressed now could count."""
        return self._gate.is_armed(self._stage.clock())

    def moved(self, subject: str) -> None:
        """Disarm: something on the screen is, or is about to be, another.

        Args:
            subject: What keys will be about once they count; empty: nothing, they never do.
        """
        self._gate.hidden()
        self.subject = subject
        self._moved_at = self._stage.clock()
        self._moves += 1
        self._stage.armed(is_armed=False)
        if subject and not self._is_resting:
            self._is_resting = True
            self._stage.later(REST_S, self._rest)

    def typed(self, key: str, at: float) -> None:
        """Take note of a key press, or of a paste (any text but a single character)."""
        self._gate.typed(key.encode("utf-8", "replace"), at)
        self._watch()

    def drawn(self) -> None:
        """Take note that the terminal has drawn everything up to an `ask_drawn`."""
        if self._asked:
            self._asked -= 1
            if not self._asked and not self._is_resting and self.subject:
                self._begin()

    def _rest(self) -> None:
        """Begin the moment once the screen rests; ask the terminal first where it answers."""
        is_moving = self._stage.clock() - self._moved_at < REST_S
        if is_moving or not self._stage.has_sent():
            self._stage.later(REST_S, self._rest)
            return
        self._is_resting = False
        if self.subject:
            self._ask()

    def _ask(self) -> None:
        if not self._stage.ask_drawn():
            self._begin()
            return
        self._asked += 1
        moves = self._moves

        def ask_again() -> None:
            if self._asked and moves == self._moves:
                self._asked = 0
                self._ask()

        self._stage.later(ANSWER_S, ask_again)

    def _begin(self) -> None:
        self._gate.shown(self._stage.clock())
        self._watch()

    def _watch(self) -> None:
        """Look again when the gate has something new to say."""
        now = self._stage.clock()
        wait_s = self._gate.wait_s(now)
        if wait_s != math.inf:
            self._stage.later(wait_s, self._act)
        self._stage.armed(is_armed=self._gate.is_armed(now))

    def _act(self) -> None:
        key = self._gate.answer(self._stage.clock())
        if key and self.subject:
            self._stage.pressed(key.decode("utf-8", "replace"), self.subject)
        self._watch()
