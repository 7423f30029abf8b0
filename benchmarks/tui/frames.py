"""How smoothly the screen scrolls: frames through a real pseudo-terminal while a key repeats.

A frame is what the toolkit sends between "begin" and "end of synchronized update" (DEC private
mode 2026), which it does once the terminal says that it understands them. Down is held at 60 a
second for three seconds; then it is pressed alone, forty times, to see how long one key takes.
The toolkit draws at most 60 frames a second. Prints JSON with all raw samples.

    PYTHONPATH=src python benchmarks/tui/frames.py > result.json
"""

import argparse
import json
import os
import pty
import select
import signal
import struct
import sys
import time
from contextlib import suppress
from fcntl import ioctl
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from termios import TIOCSWINSZ

DOWN, UP, TAB = b"\x1b[B", b"\x1b[A", b"\t"
FRAME_END = b"\x1b[?2026l"
ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;2$y", b"\x1b[6n": b"\x1b[1;1R"}
"""What a terminal answers: it knows synchronized updates, and where its cursor is."""
START_LIMIT_S = 60.0
QUIET_S = 1.0
REPEATS_PER_S = 60
HELD_S = 3.0
SINGLE_KEYS = 40
SINGLE_EVERY_S = 0.2


class Screen:
    """A program on a pseudo-terminal of 120 by 40, and when it drew what."""

    def __init__(self, program: str) -> None:
        """Start one of the programs of `apps.py`."""
        self._pid, self._fd = pty.fork()
        if not self._pid:
            environ = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            environ |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
            environ.pop("NO_COLOR", None)
            script = str(Path(__file__).with_name("apps.py"))
            os.execve(sys.executable, [sys.executable, script, program], environ)
        ioctl(self._fd, TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.frames: list[float] = []
        self.seen = bytearray()
        self._scanned = 0

    def close(self) -> None:
        """End the program."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._fd)

    def press(self, key: bytes) -> float:
        """Type a key, and return when."""
        at = time.monotonic()
        os.write(self._fd, key)
        return at

    def read(self, until: float) -> bool:
        """Take in what is drawn until a time, or until something was; return whether it was."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            self.seen += os.read(self._fd, 1 << 20)
        except OSError as error:
            raise SystemExit(f"the program ended: {self.seen[-2000:]!r}") from error
        now = time.monotonic()
        fresh = self.seen[max(0, self._scanned - 16) :]
        known = self._scanned - max(0, self._scanned - 16)
        self._scanned = len(self.seen)
        at = fresh.find(FRAME_END)
        while at >= 0:
            if at + len(FRAME_END) > known:
                self.frames.append(now)
            at = fresh.find(FRAME_END, at + 1)
        for question, answer in ANSWERS.items():
            at = fresh.find(question)
            if at >= 0 and at + len(question) > known:
                os.write(self._fd, answer)
        return True

    def rest(self, limit_s: float = START_LIMIT_S) -> None:
        """Wait until nothing was drawn for a second."""
        end = time.monotonic() + limit_s
        while not self.frames and time.monotonic() < end:
            self.read(end)
        while self.read(time.monotonic() + QUIET_S):
            if time.monotonic() > end:
                return

    def watch(self, until: float) -> None:
        """Take in what is drawn until a time."""
        while time.monotonic() < until:
            self.read(until)


def held(screen: Screen) -> dict[str, object]:
    """Hold Down, and return how evenly frames came."""
    first = len(screen.frames)
    begin = time.monotonic() + 0.05
    keys: list[float] = []
    for number in range(int(REPEATS_PER_S * HELD_S)):
        screen.watch(begin + number / REPEATS_PER_S)
        keys.append(screen.press(DOWN))
    screen.watch(keys[-1] + 0.1)
    frames = [at for at in screen.frames[first:] if keys[0] <= at <= keys[-1] + 0.02]
    gaps = [1000 * (b - a) for a, b in pairwise(frames)]
    return {
        "frames_per_s": round(len(frames) / (keys[-1] - keys[0]), 1),
        "gap_ms_p50": percentile(gaps, 50),
        "gap_ms_p95": percentile(gaps, 95),
        "gap_ms_max": round(max(gaps), 1),
        "gaps_ms": [round(gap, 2) for gap in gaps],
    }


def single(screen: Screen) -> dict[str, object]:
    """Press keys one by one, and return how long each took to be seen."""
    taken: list[float] = []
    for number in range(SINGLE_KEYS):
        first = len(screen.frames)
        at = screen.press(DOWN if number % 2 else UP)
        screen.watch(at + SINGLE_EVERY_S)
        taken += [1000 * (screen.frames[first] - at)] if len(screen.frames) > first else []
    return {
        "answered": len(taken),
        "key_ms_p50": percentile(taken, 50),
        "key_ms_p95": percentile(taken, 95),
        "keys_ms": [round(ms, 2) for ms in taken],
    }


def opening(screen: Screen) -> dict[str, object]:
    """Go to the card of 10,000 changes and back, and return how long opening it took."""
    taken: list[float] = []
    for _ in range(5):
        seen = len(screen.seen)
        at = screen.press(TAB)
        while OPENED not in screen.seen[seen:] and time.monotonic() < at + 30:
            screen.read(at + 30)
        taken.append(1000 * (time.monotonic() - at))
        screen.rest()
        screen.press(b"\x1b[Z")  # Shift+Tab
        screen.rest()
    return {
        "opened_ms_min": round(min(taken), 1),
        "opened_ms_max": round(max(taken), 1),
        "opened_ms": [round(ms, 1) for ms in taken],
    }


OPENED = b"src/opened_000000.py"


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile, to a tenth of a millisecond."""
    if len(values) < 2:
        return round(values[0], 1) if values else -1.0
    return round(quantiles(values, n=100, method="inclusive")[percent - 1], 1)


def measured(program: str) -> dict[str, object]:
    """Start a program, measure it, end it."""
    screen = Screen(program)
    try:
        screen.rest()
        found = held(screen)
        screen.rest()
        found |= single(screen)
        if program == "cliff":
            screen.rest()
            found |= opening(screen)
        return found
    finally:
        screen.close()


def main() -> None:
    """Measure each program some times, in turn, and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("programs", nargs="*", default=["floor", "bare", "cliff"])
    arguments = parser.parse_args()
    rounds: list[dict[str, object]] = []
    for _ in range(arguments.rounds):
        before = os.getloadavg()[0]
        rounds.append(
            {
                "load": round(before, 2),
                **{program: measured(program) for program in arguments.programs},
            }
        )
    print(json.dumps({"columns": 120, "rows": 40, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
