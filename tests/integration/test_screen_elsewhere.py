"""`luminaguard tui` in another terminal: what one process asks, a screen of another answers."""

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from luminaguard.approval.desk.secret import enroll
from ptyscreen import Human, at_terminal, environment

pytestmark = [pytest.mark.guarantee("G1"), pytest.mark.guarantee("G4")]

CHILD = Path(__file__).with_name("desk_child.py")
SECRET = "correct horse battery"
LIMIT_S = 60.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(mode=0o700)
    enroll(tmp_path / "state", SECRET, at=datetime.now(UTC))
    return tmp_path


@contextmanager
def asking(root: Path, *, open_for_s: float = 60.0) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, str(CHILD), str(root), str(open_for_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == b"asked\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def looking(root: Path, **environ: str) -> Generator[Human]:
    own = {
        "LUMINAGUARD_STATE_DIR": str(root / "state"),
        "LUMINAGUARD_CACHE_DIR": str(root / "cache"),
        "LUMINAGUARD_CONFIG": str(root / "none.toml"),
    }
    arguments = [sys.executable, "-m", "luminaguard", "tui"]
    with at_terminal(arguments, environ=own | environ) as human:
        yield human


def end_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=LIMIT_S)
    return json.loads(out)


def test_a_yes_from_another_terminal_needs_the_secret(root: Path) -> None:
    with asking(root) as process, looking(root) as human:
        human.sees("1 of 1", "a.txt")
        human.presses("a")
        human.sees("The approver secret")
        human.types("wrong words\r")
        human.sees("not approved")
        human.presses("a")
        human.sees("The approver secret")
        human.types(f"{SECRET}\r")
        decision = end_of(process)
        assert (decision["end"], decision["approver"]) == ("approved", "queue")
        assert decision["proof"].startswith("approver secret")
        human.sees("nothing to decide")
        human.types("q")
        human.sees("Close the screen?")
        human.types("q")
        assert human.result()[0] == 0
    assert SECRET.encode() not in human.raw


def test_a_killed_screen_leaves_the_question_to_the_next_one(root: Path) -> None:
    with asking(root) as process:
        with looking(root) as human:
            human.sees("1 of 1")
            human.child.kill()
            human.result(restored=False)
        assert process.poll() is None
        with looking(root) as human:
            human.presses("r")
            human.sees("why not?")
            human.types("no\r")
            decision = end_of(process)
    assert (decision["end"], decision["reason"]) == ("rejected", "no")


def test_a_killed_session_takes_its_question_along(root: Path) -> None:
    with asking(root) as process, looking(root) as human:
        human.sees("1 of 1")
        process.kill()
        human.sees("gone with the process that asked", "nothing to decide")
        human.types("\x03")
        assert human.result()[0] == 0


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGHUP"])
def test_a_signal_closes_the_screen_and_gives_the_terminal_back(
    root: Path, signal_name: str
) -> None:
    with looking(root) as human:
        human.sees("nothing to decide")
        human.child.send_signal(signal.Signals[signal_name])
        code, _, err = human.result()
    assert code == 1
    assert signal_name in err


def test_on_a_dumb_terminal_it_says_what_to_do_instead(root: Path) -> None:
    with looking(root, TERM="dumb") as human:
        code, _, err = human.result()
    assert code == 125
    assert "--approver tty" in err
    assert human.raw == b""


def test_without_a_terminal_it_ends_at_once(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "luminaguard", "tui"],
        env=environment() | {"LUMINAGUARD_STATE_DIR": str(root / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        start_new_session=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 125
    assert b"no terminal" in done.stderr


def test_without_colors_the_words_say_it_all(root: Path) -> None:
    with asking(root), looking(root, NO_COLOR="1") as human:
        human.sees("MEDIUM", "[a] approve", "[r] reject")
        human.types("\x03")
        human.result()
