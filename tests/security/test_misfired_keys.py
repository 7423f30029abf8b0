"""Keys that were not meant as a yes: typed ahead, pasted, held, or meant for another card.

Through a real pseudo-terminal. Each test goes on to show that the question is still open.
"""

import json
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ptyscreen import Human, at_terminal

pytestmark = [pytest.mark.guarantee("G1"), pytest.mark.guarantee("G4")]

CHILD = Path(__file__).with_name("card_child.py")
SETTLES_S = 0.4
"""A key that counts is one of the screen's acts after 0.15 s, and its card gone soon after."""
LONG = "".join(f"line {n}\n" for n in range(300))


@contextmanager
def shown(*cards: dict[str, Any], **more: Any) -> Generator[Human]:
    """Show a queue of cards; each is a dict of `risk`, `after`, `offers`, `open_for_s`."""
    with at_terminal([sys.executable, str(CHILD), json.dumps(cards)], **more) as human:
        yield human


def ends(human: Human) -> list[str]:
    """Close the screen, and return how each question ended."""
    return [one["end"] for one in answers(human)]


def answers(human: Human) -> list[dict[str, Any]]:
    human.is_asked()
    human.types("\x03")
    _, out, err = human.result()
    assert not err
    return json.loads(out)


def test_what_was_typed_before_the_card_came_is_no_answer() -> None:
    with shown({}, typed_ahead="aaaa") as human:
        human.types("a")
        human.sees("1 of 1")
        assert ends(human) == ["withdrawn"]


def test_pasted_text_is_no_answer() -> None:
    pastes = ("\x1b[200~a\x1b[201~", "\x1b[200~approve\r\x1b[201~", "a\r", "ar", "aaaaaa")
    with shown({}) as human:
        for paste in pastes:
            human.presses(paste)
            human.watches(SETTLES_S)
        assert ends(human) == ["withdrawn"]


def test_a_held_key_is_no_answer() -> None:
    with shown({}, {}) as human:
        human.is_asked()
        for _ in range(40):
            human.types("a")
            human.watches(0.03)
        human.watches(0.5)
        assert ends(human) == ["withdrawn", "withdrawn"]


def test_other_keys_are_no_answer() -> None:
    with shown({}) as human:
        for key in ("\r", " ", "y", "A", "\x1ba", "\x1b[a", "\x04"):
            human.presses(key)
            human.watches(SETTLES_S)
        assert ends(human) == ["withdrawn"]


def test_a_click_is_no_answer() -> None:
    with shown({}) as human:
        human.is_asked()
        row = human.screen.rows
        for column in range(1, 60, 4):
            human.types(f"\x1b[<0;{column};{row}M\x1b[<0;{column};{row}m")
        human.watches(SETTLES_S)
        assert ends(human) == ["withdrawn"]


def test_a_key_for_one_card_never_decides_the_next() -> None:
    with shown({}, {}) as human:
        human.sees("1 of 2")
        human.is_asked()
        human.types("a")
        human.sees("1 of 1")
        human.types("a")  # at once: meant for the card that is gone
        human.watches(SETTLES_S)
        assert ends(human) == ["approved", "withdrawn"]


def test_a_key_that_waited_while_its_card_expired_decides_nothing() -> None:
    with shown({"open_for_s": 4.0}, {}) as human:
        human.sees("1 of 2")
        human.is_asked()
        human.child.send_signal(signal.SIGSTOP)  # as if the machine was busy
        human.types("a")
        human.watches(4.0)
        human.child.send_signal(signal.SIGCONT)
        human.sees("1 of 1")
        human.watches(SETTLES_S)
        assert ends(human) == ["expired", "withdrawn"]


def test_a_resize_disarms() -> None:
    with shown({}) as human:
        human.is_asked()
        human.resizes(90, 35)
        human.types("a")
        human.watches(SETTLES_S)
        assert ends(human) == ["withdrawn"]


def test_nothing_is_decided_on_a_terminal_too_small_for_a_card() -> None:
    with shown({}) as human:
        human.is_asked()
        human.resizes(20, 6)
        human.sees("too small")
        human.watches(0.8)
        human.types("a")
        human.watches(0.8)
        human.resizes(100, 40)
        human.sees("1 of 1")
        assert ends(human) == ["withdrawn"]


def test_a_terminal_that_has_not_drawn_the_card_arms_no_key() -> None:
    with shown({}, {}) as human:
        human.sees("1 of 2")
        human.presses("r")
        human.sees("why not?")
        human.answers_cursor = False  # as if the connection hung from here on
        human.types("\r")
        human.sees("wait ")
        human.watches(1.5)
        human.types("a")
        human.watches(SETTLES_S)
        assert not human.is_armed
        human.types("\x03")
        _, out, _ = human.result()
    assert [one["end"] for one in json.loads(out)] == ["rejected", "withdrawn"]


def test_a_critical_effect_wants_to_be_seen_and_the_word_from_a_hand() -> None:
    with shown({"risk": "critical", "after": LONG}) as human:
        human.presses("a")
        human.sees("not all of it was on the screen")
        while "not seen yet" in human.screen.text:
            human.types(" ")
            human.watches(0.1)
        human.presses("a")
        human.sees("type the word approve")
        human.types("approve\r")
        human.sees("too fast for a hand")
        human.types("\x1b[200~approve\x1b[201~")
        human.watches(0.4)
        human.types("\r")
        human.sees("Not that word")
        human.types_slowly("yes\r")
        human.sees("Not that word")
        human.types_slowly("approve\r")
        human.sees("nothing to decide")
        human.types("\x03")
        _, out, _ = human.result()
    assert json.loads(out)[0]["end"] == "approved"


def test_the_environment_cannot_press_keys() -> None:
    often = ",".join(["wait:700", "a"] * 20)  # some of them once keys count
    with shown({}, environ={"TEXTUAL_PRESS": often, "TEXTUAL_DRIVER": "no:such"}) as human:
        human.is_asked()
        human.watches(1.8)
        assert ends(human) == ["withdrawn"]


def test_a_card_drawn_in_a_files_text_stays_behind_its_edge() -> None:
    fake = (
        "\x1b[2J\x1b[H\x1b]0;title\x07\x1b]52;c;aGk=\x07"
        "━━ 🟢 LOW ━━ commit exactly this? ━━\n measured  no file changes\n"
        "\x1b[30;1H ready  a  approve"
    )
    with shown({"risk": "high", "after": fake}) as human:
        human.sees("HIGH", "\\x1b[2J", "🟢 LOW")
        lines = [line for line in human.screen.text.split("\n") if "🟢 LOW" in line]
        assert lines
        assert all("│" in line.split("🟢 LOW")[0] for line in lines)
        assert b"\x1b]52" not in human.raw
        assert b"\x1b]0;" not in human.raw
        assert ends(human) == ["withdrawn"]


def test_what_is_remembered_is_shown_before_it_is_taken() -> None:
    with shown({"offers": True}) as human:
        human.presses("g")
        human.sees("Approve, and remember it?", "also lets through", "make clean")
        human.types("a")  # at once: the box was not still yet
        human.watches(SETTLES_S)
        human.types("j")
        human.watches(1.2)
        human.types("a")
        human.sees("nothing to decide")
        human.types("\x03")
        _, out, _ = human.result()
    assert [(one["end"], one["grant"]) for one in json.loads(out)] == [("approved", "session")]


def test_a_critical_effect_counts_as_seen_once_it_was_read_in_the_pager() -> None:
    environ = {"PAGER": "less"}
    with shown({"risk": "critical", "after": LONG}, environ=environ) as human:
        human.presses("v")
        human.sees("line 9")
        human.watches(0.5)
        human.types("a")  # to the pager, not to the card
        human.watches(0.5)
        human.types("q")
        human.presses("a")
        human.sees("type the word approve")
        human.types("\x1b")
        assert ends(human) == ["withdrawn"]


def test_a_question_that_expires_in_the_pager_takes_the_terminal_back() -> None:
    with shown({"open_for_s": 5.0}, environ={"PAGER": "less"}) as human:
        human.presses("v")
        human.sees("exact call")
        human.sees("nothing to decide")
        human.types("\x03")
        _, out, _ = human.result()
    assert json.loads(out)[0]["end"] == "expired"
