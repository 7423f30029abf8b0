"""When keys count on the screen; time is given, none passes."""

from collections.abc import Callable

import pytest

from luminaguard.approval.keys import KeyGate, WordGate
from luminaguard.tui.arming import Arming


class Stage:
    """A stage whose clock the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.is_asked = 0
        self.answers = False
        self.sent = True
        self.counts = False
        self.got: list[tuple[str, str]] = []

    def clock(self) -> float:
        return self.now

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, act))

    def has_sent(self) -> bool:
        return self.sent

    def ask_drawn(self) -> bool:
        self.is_asked += self.answers
        return self.answers

    def armed(self, *, is_armed: bool) -> None:
        self.counts = is_armed

    def pressed(self, key: str, subject: str) -> None:
        self.got.append((key, subject))

    def passes(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted((at, n) for n, (at, _) in enumerate(self.timers) if at <= end):
            at, number = due[0]
            self.now = max(self.now, at)
            self.timers.pop(number)[1]()
        self.now = end


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def arming(stage: Stage) -> Arming:
    return Arming(stage, KeyGate(arm_after_s=0.4, quiet_s=0.15))


def test_a_lone_key_on_a_still_card_counts_for_that_card(stage: Stage, arming: Arming) -> None:
    arming.moved("one")
    stage.passes(1.0)
    assert stage.counts
    arming.typed("a", stage.now)
    stage.passes(0.2)
    assert stage.got == [("a", "one")]


def test_nothing_counts_before_anything_is_shown(stage: Stage, arming: Arming) -> None:
    arming.typed("a", stage.now)
    stage.passes(10.0)
    assert (stage.got, arming.is_armed) == ([], False)


def test_nothing_counts_while_nothing_is_asked(stage: Stage, arming: Arming) -> None:
    arming.moved("")
    stage.passes(1.0)
    arming.typed("a", stage.now)
    stage.passes(1.0)
    assert stage.got == []


def test_a_card_that_changes_within_the_quiet_takes_the_key_with_it(
    stage: Stage, arming: Arming
) -> None:
    arming.moved("one")
    stage.passes(1.0)
    arming.typed("a", stage.now)
    stage.passes(0.1)
    arming.moved("two")
    stage.passes(5.0)
    assert stage.got == []


def test_a_key_typed_before_the_card_but_handled_after_it_does_not_count(
    stage: Stage, arming: Arming
) -> None:
    typed_at = stage.now
    arming.moved("one")
    stage.passes(1.0)
    arming.typed("a", typed_at)
    stage.passes(1.0)
    assert stage.got == []


def test_keys_count_only_after_the_screen_has_rested(stage: Stage, arming: Arming) -> None:
    for _ in range(100):
        arming.moved("one")
        stage.passes(0.03)
    assert not stage.counts
    stage.passes(0.3)
    assert not stage.counts
    stage.passes(0.3)
    assert stage.counts


def test_a_terminal_that_answers_must_have_drawn_the_card(stage: Stage, arming: Arming) -> None:
    stage.answers = True
    arming.moved("one")
    stage.passes(2.0)
    assert (stage.is_asked, stage.counts) == (1, False)
    arming.drawn()
    stage.passes(0.5)
    assert stage.counts


def test_an_answer_about_an_earlier_frame_arms_nothing(stage: Stage, arming: Arming) -> None:
    stage.answers = True
    arming.moved("one")
    stage.passes(0.2)
    arming.moved("two")
    stage.passes(0.2)
    assert stage.is_asked == 2
    arming.drawn()  # the answer to the first question
    stage.passes(0.6)
    assert not stage.counts
    arming.drawn()
    stage.passes(0.6)
    assert stage.counts


def test_a_lost_answer_is_asked_for_again(stage: Stage, arming: Arming) -> None:
    stage.answers = True
    arming.moved("one")
    stage.passes(4.0)
    assert stage.is_asked == 2
    arming.drawn()
    stage.passes(0.5)
    assert stage.counts


def test_frames_that_have_not_left_keep_the_keys_off(stage: Stage, arming: Arming) -> None:
    stage.sent = False
    arming.moved("one")
    stage.passes(5.0)
    assert not stage.counts
    stage.sent = True
    stage.passes(1.0)
    assert stage.counts


@pytest.mark.parametrize("text", ["ab", "approve\r", "a\n"])
def test_a_paste_is_no_key(stage: Stage, arming: Arming, text: str) -> None:
    arming.moved("one")
    stage.passes(1.0)
    arming.typed(text, stage.now)
    stage.passes(1.0)
    assert stage.got == []


def test_a_word_counts_when_it_took_a_hand_to_type_it() -> None:
    gate = WordGate(takes_s=0.3)
    for step in range(7):
        gate.typed(10.0 + step * 0.06)
    assert gate.is_typed(10.5)
    gate.begun_anew()
    assert not gate.is_typed(99.0)


def test_a_word_that_came_at_once_does_not_count() -> None:
    gate = WordGate(takes_s=0.3)
    for step in range(7):
        gate.typed(10.0 + step * 0.001)
    assert not gate.is_typed(10.01)
    gate.typed(10.5)
    assert not gate.is_typed(10.5), "Enter came along with the last letter"
