"""A human at a real pseudo-terminal: only a deliberate yes is a yes."""

import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from luminaguard.testing.cards import Texts

pytestmark = [pytest.mark.guarantee("G1"), pytest.mark.guarantee("G4")]

CHILD = Path(__file__).with_name("asking_child.py")
TEXTS: Texts = {"app.py": ("old = 1\n", "new = 2\n")}
LIMIT_S = 20.0
READY = "help"
"""The last word of the prompt: from then on keys count."""


class Human:
    """Someone who looks at the terminal and types."""

    def __init__(self, master: int, slave: int, child: subprocess.Popen[bytes]) -> None:
        self.master, self.slave, self.child = master, slave, child
        self.seen = b""
        self.mode = termios.tcgetattr(slave)

    def reads(self, *words: str, times: int = 1) -> None:
        end = time.monotonic() + LIMIT_S
        while not all(self.seen.count(word.encode()) >= times for word in words):
            assert time.monotonic() < end, f"never saw {words} in {self.seen!r}"
            assert self._look(0.2) or self.child.poll() is None, f"ended: {self.seen!r}"

    def _look(self, wait_s: float) -> bool:
        if not select.select([self.master], [], [], wait_s)[0]:
            return False
        self.seen += os.read(self.master, 65536)
        return True

    def types(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._look(left)

    def types_by_hand(self, word: str) -> None:
        for letter in word:
            self.types(letter)
            self.wait(0.06)

    def types_when_asked(self, keys: str) -> None:
        self.reads(READY, times=self.seen.count(READY.encode()) + (READY.encode() not in self.seen))
        self.types(keys)

    def is_still_asked(self) -> None:
        """Asks for help until it comes, so that all keys before have had their effect."""
        self.reads(READY)
        end = time.monotonic() + LIMIT_S
        while b"commit exactly what the card shows" not in self.seen:
            assert time.monotonic() < end, f"no help: {self.seen!r}"
            assert self.child.poll() is None, f"answered: {self.seen!r}"
            if not self._look(0.3):  # longer than the quiet that makes a key count
                self.types("?")
        self.types("\x03")
        assert self.result()["reason"] == "interrupted"

    def result(self) -> dict[str, object]:
        end = time.monotonic() + LIMIT_S
        while self.child.poll() is None:
            assert time.monotonic() < end, f"never ended: {self.seen!r}"
            self._look(0.05)
        while self._look(0.0):
            pass
        assert self.child.stdout is not None
        assert self.child.stderr is not None
        assert self.child.returncode == 0, self.child.stderr.read().decode()
        assert termios.tcgetattr(self.slave) == self.mode, "the terminal's mode was not restored"
        return json.loads(self.child.stdout.read())


@contextmanager
def asked(
    *,
    texts: Texts = TEXTS,
    risk: str = "medium",
    open_for_s: float = 60.0,
    arm_after_s: float = 0.2,
    cancel_after_s: float = 600.0,
    environ: dict[str, str] | None = None,
    stdin: bytes = b"a\n" * 20,
    typed_ahead: str = "",
    offers: bool = False,
) -> Generator[Human]:
    master, slave = pty.openpty()
    options = {
        "texts": texts,
        "risk": risk,
        "open_for_s": open_for_s,
        "arm_after_s": arm_after_s,
        "cancel_after_s": cancel_after_s,
        "environ": environ or {},
        "offers": offers,
    }
    os.write(master, typed_ahead.encode())
    child = subprocess.Popen(
        [sys.executable, str(CHILD), os.ttyname(slave), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert child.stdin is not None
        child.stdin.write(stdin)  # a yes on standard input, which nobody may read
        child.stdin.close()
        yield Human(master, slave, child)
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()
        for fd in (master, slave):
            try:
                os.close(fd)
            except OSError:
                continue


def test_a_approves_what_the_card_shows() -> None:
    with asked() as human:
        human.reads("app.py", "old", "new", READY)
        human.types("a")
        decision = human.result()
    assert decision["end"] == "approved"
    assert decision["approver"] == "tty"
    assert decision["digest"] is True
    assert decision["proof"] == f"controlling terminal, uid {os.getuid()}"
    assert b"Approved." in human.seen


def test_r_rejects_with_the_reason_that_was_typed() -> None:
    with asked() as human:
        human.types_when_asked("r")
        human.reads("Why not?")
        human.types("not tody\x7f\x7fday, naïve\r")
        decision = human.result()
    assert (decision["end"], decision["reason"]) == ("rejected", "not today, naïve")


def test_escape_leads_back_from_the_reason() -> None:
    with asked() as human:
        human.types_when_asked("r")
        human.reads("Why not?")
        human.types("oh\x1b")
        human.reads(READY, times=2)
        human.types("a")
        assert human.result()["end"] == "approved"


def test_silence_expires_and_says_so() -> None:
    with asked(open_for_s=1.5) as human:
        decision = human.result()
    assert decision["end"] == "expired"
    assert b"Expired" in human.seen


def test_the_expiry_holds_in_the_middle_of_a_reason() -> None:
    with asked(open_for_s=2.5) as human:
        human.types_when_asked("r")
        human.reads("Why not?")
        human.types("because")
        assert human.result()["end"] == "expired"


@pytest.mark.parametrize("key", ["\r", " ", "y", "A", "\t", "\x1b", "\x1a", "\x1c"])
def test_enter_and_keys_without_a_meaning_do_nothing(key: str) -> None:
    with asked() as human:
        human.types_when_asked(key)
        human.is_still_asked()


@pytest.mark.parametrize("keys", ["a\r", "aaaa", "\x1b[a", "\x1b[200~a\x1b[201~", "yes a please"])
def test_pasted_text_held_keys_and_escape_sequences_do_not_answer(keys: str) -> None:
    with asked() as human:
        human.types_when_asked(keys)
        human.is_still_asked()


def test_what_was_typed_before_the_card_is_forgotten() -> None:
    with asked(typed_ahead="a") as human:
        human.is_still_asked()


def test_a_key_pressed_while_the_card_is_drawn_does_not_count() -> None:
    with asked(arm_after_s=1.0) as human:
        human.reads("app.py")
        human.types("a")
        human.is_still_asked()


def test_ctrl_c_fails_as_interrupted() -> None:
    with asked() as human:
        human.types_when_asked("\x03")
        decision = human.result()
    assert (decision["end"], decision["reason"]) == ("failed", "interrupted")


def test_ctrl_c_ends_a_half_typed_reason_too() -> None:
    with asked() as human:
        human.types_when_asked("r")
        human.reads("Why not?")
        human.types("bec\x03")
        assert human.result()["end"] == "failed"


def test_end_of_input_fails() -> None:
    with asked() as human:
        human.types_when_asked("\x04")
        assert human.result()["end"] == "failed"


def test_a_hung_up_terminal_fails() -> None:
    with asked() as human:
        human.reads(READY)
        os.close(human.slave)
        os.close(human.master)
        assert human.child.wait(LIMIT_S) == 0
        assert human.child.stdout is not None
        assert json.loads(human.child.stdout.read())["end"] == "failed"


def test_without_a_terminal_nobody_can_say_yes() -> None:
    options = {"texts": TEXTS, "risk": "low", "open_for_s": 5, "arm_after_s": 0}
    options |= {"cancel_after_s": 60, "environ": {}}
    asking = subprocess.run(
        [sys.executable, str(CHILD), "", json.dumps(options)],
        input=b"a\napprove\n" * 9,
        capture_output=True,
        start_new_session=True,
        timeout=LIMIT_S,
        check=True,
    )
    decision = json.loads(asking.stdout)
    assert decision["end"] == "failed"
    assert "no terminal" in decision["reason"]


def test_cancellation_ends_the_question_and_restores_the_terminal() -> None:
    with asked(cancel_after_s=2.0) as human:
        human.reads(READY)
        assert human.result() == {"end": "cancelled", "cancelled": True}
    assert b"Not approved" in human.seen


def test_a_critical_effect_wants_the_typed_word() -> None:
    with asked(risk="critical") as human:
        human.types_when_asked("a")
        human.reads("type the word approve")
        human.types("yes\r")
        human.reads("Not approved.", READY)
        human.reads(READY, times=2)
        human.types("a")
        human.reads("type the word approve", times=2)
        human.types_by_hand("approve\r")
        assert human.result()["end"] == "approved"


def test_a_pasted_word_approves_nothing() -> None:
    with asked(risk="critical") as human:
        human.types_when_asked("a")
        human.reads("type the word approve")
        human.types("approve\r")
        human.reads("too fast for a hand")
        human.types("\x03")
        assert human.result()["end"] == "failed"


def test_what_is_remembered_is_shown_and_asked_for_once_more() -> None:
    with asked(offers=True) as human:
        human.types_when_asked("g")
        human.reads("1  exact: covered exact", "also lets through: make clean", "Remember which?")
        human.types("2\r")
        human.reads("remember session: covered session", "any other key goes back")
        human.wait(0.5)
        human.types("a")
        decision = human.result()
    assert (decision["end"], decision["grant"]) == ("approved", "id-session")


@pytest.mark.parametrize("typed", ["\r", "\x1b", "9\r", "2\ra", "2\rr"])
def test_nothing_is_remembered_or_approved_without_the_second_key(typed: str) -> None:
    with asked(offers=True) as human:
        human.types_when_asked("g")
        human.reads("Remember which?")
        human.types(typed)
        human.wait(0.6)
        human.types("\x03")
        decision = human.result()
    assert (decision["end"], decision["grant"]) == ("failed", "")


def test_without_offers_nothing_can_be_remembered() -> None:
    with asked() as human:
        human.types_when_asked("g")
        human.reads("nothing to be remembered")
        human.types("\x03")
        assert human.result()["end"] == "failed"


def test_a_critical_effect_must_have_been_on_the_screen_whole() -> None:
    long = {"big.txt": (None, "\n".join(f"line {n}" for n in range(100)))}
    with asked(risk="critical", texts=long, environ={"PAGER": "cat", "NO_COLOR": "1"}) as human:
        human.reads("more lines: press v to view all")
        assert b"line 99" not in human.seen
        human.types_when_asked("a")
        human.reads("press v first")
        human.reads(READY, times=2)
        human.types("v")
        human.reads("line 99")
        human.reads(READY, times=3)
        human.types("a")
        human.reads("type the word approve")
        human.types_by_hand("approve\r")
        assert human.result()["end"] == "approved"


def test_the_pager_is_ended_when_the_time_is_up() -> None:
    with asked(open_for_s=3.0, environ={"PAGER": "less"}) as human:
        human.types_when_asked("v")
        human.reads("exact call")
        assert human.result()["end"] == "expired"


def test_all_of_a_card_can_be_paged_without_a_pager() -> None:
    long = {"big.txt": (None, "\n".join(f"line {n}" for n in range(100)))}
    with asked(texts=long, environ={"PATH": "/nowhere"}) as human:
        human.types_when_asked("v")
        for page in range(1, 6):
            human.reads("next page", times=page)
            human.types(" ")
        human.reads("line 99")
        human.reads("next page", times=6)
        human.types("q")
        human.reads(READY, times=2)
        human.types("a")
        assert human.result()["end"] == "approved"
