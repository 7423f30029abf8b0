"""A program on a real pseudo-terminal, the screen it draws, and a hand at the keyboard.

Understands what a full-screen program sends: text, cursor moves, erasing, the alternate screen, and
the question where the cursor is. Everything else is skipped, and kept in `raw`.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress

from rich.cells import get_character_cell_size

LIMIT_S = 40.0
_TAKE_TERMINAL = (
    "import os, sys; os.open(os.environ['SCREEN_TTY'], os.O_RDWR); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""A session's first opened terminal becomes its controlling one, and stays so."""
_SEQUENCE = re.compile(
    rb"\x1b\[(?P<private>[?>=<]?)(?P<numbers>[\d;:]*)[ $]?(?P<letter>[@-~])"
    rb"|\x1b\](?:[^\x07\x1b]*)(?:\x07|\x1b\\)|\x1b[@-Z\\-_a-z=><]|\x18"
)
_PARTIAL = re.compile(rb"\x1b(?:\[[?>=<]?[\d;:]*[ $]?|\][^\x07\x1b]*)?$")


class Screen:
    """The characters on a terminal's screen."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.is_alternate = False
        self.clear()

    def clear(self) -> None:
        self.cells = [[" "] * self.columns for _ in range(self.rows)]
        self.x = self.y = 0

    @property
    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def put(self, text: str) -> None:
        for char in text:
            if char == "\n":
                self.y = min(self.y + 1, self.rows - 1)
            elif char == "\r":
                self.x = 0
            elif char >= " ":
                size = get_character_cell_size(char)
                if self.y < self.rows and self.x < self.columns and size:
                    self.cells[self.y][self.x] = char
                    if size == 2 and self.x + 1 < self.columns:
                        self.cells[self.y][self.x + 1] = ""
                self.x += size

    def act(self, private: bytes, numbers: bytes, letter: bytes) -> None:
        values = [int(part) if part else 0 for part in numbers.replace(b":", b";").split(b";")]
        if letter in b"Hf":
            self.y = max(1, values[0]) - 1
            self.x = max(1, values[1] if len(values) > 1 else 1) - 1
        elif letter == b"J":
            self.clear()
        elif letter == b"K":
            self.cells[self.y][self.x :] = [" "] * (self.columns - self.x)
        elif letter in b"hl" and private == b"?" and values[0] == 1049:
            self.is_alternate = letter == b"h"
            self.clear()


class Human:
    """Someone who looks at the terminal and types."""

    def __init__(
        self, child: subprocess.Popen[bytes], master: int, slave: int, columns: int, rows: int
    ) -> None:
        self.child, self.master, self.slave = child, master, slave
        self.screen = Screen(columns, rows)
        self.raw = b""
        self.answers_cursor = True
        self.looks = True
        self._pending = b""
        self.mode = termios.tcgetattr(slave)

    def sees(self, *words: str, limit_s: float = LIMIT_S) -> None:
        """Look until all words are on the screen at once."""
        end = time.monotonic() + limit_s
        while not all(word in self.screen.text for word in words):
            assert time.monotonic() < end, f"never saw {words} in\n{self.screen.text}"
            is_over = self.child.poll() is not None
            assert self.look(0.1) or not is_over, f"ended, {words} not in\n{self.screen.text}"

    def sees_no(self, word: str) -> None:
        """Look until a word is gone from the screen."""
        end = time.monotonic() + LIMIT_S
        while word in self.screen.text:
            assert time.monotonic() < end, f"still there: {word}\n{self.screen.text}"
            self.look(0.1)

    def sees_left(self) -> None:
        """Look until the alternate screen was shown and left."""
        end = time.monotonic() + LIMIT_S
        while b"\x1b[?1049l" not in self.raw:
            assert time.monotonic() < end, f"never left:\n{self.screen.text}"
            self.look(0.1)

    def watches(self, seconds: float) -> None:
        """Look for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.look(left)

    def look(self, wait_s: float) -> bool:
        if not select.select([self.master], [], [], wait_s)[0]:
            return False
        try:
            got = os.read(self.master, 65536)
        except OSError:
            return False
        self.raw += got
        self._pending += got
        self._draw()
        return bool(got)

    def _draw(self) -> None:
        content = self._pending
        partial = _PARTIAL.search(content)
        end = partial.start() if partial else len(content)
        content, self._pending = content[:end], content[end:]
        at = 0
        for found in _SEQUENCE.finditer(content):
            self.screen.put(content[at : found.start()].decode("utf-8", "replace"))
            at = found.end()
            letter = found["letter"]
            if letter == b"n" and found["numbers"] == b"6":
                if self.answers_cursor:
                    os.write(self.master, f"\x1b[{self.screen.y + 1};{self.screen.x + 1}R".encode())
            elif letter:
                self.screen.act(found["private"], found["numbers"], letter)
        self.screen.put(content[at:].decode("utf-8", "replace"))

    def types(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    @property
    def is_armed(self) -> bool:
        """Whether the last line says that keys count."""
        return self.screen.text.split("\n")[-1].startswith(" ready ")

    def is_asked(self) -> None:
        """Look until keys count."""
        end = time.monotonic() + LIMIT_S
        while not self.is_armed:
            assert time.monotonic() < end, f"never armed:\n{self.screen.text}"
            assert self.look(0.1) or self.child.poll() is None, f"ended:\n{self.screen.text}"

    def presses(self, key: str) -> None:
        """Press a key once keys count."""
        self.is_asked()
        self.types(key)

    def types_slowly(self, word: str) -> None:
        for letter in word:
            self.types(letter)
            self.watches(0.06)

    def resizes(self, columns: int, rows: int) -> None:
        self.screen = Screen(columns, rows)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.child.send_signal(signal.SIGWINCH)

    def hangs_up(self) -> None:
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def result(self, *, restored: bool = True) -> tuple[int, str, str]:
        """Wait for the end, and return exit code, standard output and standard error."""
        end = time.monotonic() + LIMIT_S
        while self.child.poll() is None:
            assert time.monotonic() < end, f"never ended:\n{self.screen.text}"
            if self.master >= 0:
                self.look(0.05)
            else:
                with suppress(subprocess.TimeoutExpired):
                    self.child.wait(0.05)
        while self.master >= 0 and self.look(0.0):
            pass
        assert self.child.stdout is not None
        assert self.child.stderr is not None
        out, err = self.child.stdout.read().decode(), self.child.stderr.read().decode()
        if restored and self.slave >= 0:
            assert termios.tcgetattr(self.slave) == self.mode, "the mode was not restored"
            assert not self.screen.is_alternate, "the alternate screen was not left"
            assert self.raw.rfind(b"\x1b[?25h") >= self.raw.rfind(b"\x1b[?25l"), "no cursor"
            assert self.raw.rfind(b"\x1b[?1003l") >= self.raw.rfind(b"\x1b[?1003h"), "mouse on"
            assert self.raw.rfind(b"\x1b[?2004l") >= self.raw.rfind(b"\x1b[?2004h"), "paste mode"
        return self.child.returncode, out, err


@contextmanager
def at_terminal(
    arguments: Sequence[str],
    *,
    environ: dict[str, str] | None = None,
    columns: int = 100,
    rows: int = 40,
    typed_ahead: str = "",
) -> Generator[Human]:
    """Run a program whose controlling terminal is a new one; its three streams are pipes."""
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.write(master, typed_ahead.encode())
    path = os.ttyname(slave)
    child = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment() | {"SCREEN_TTY": path} | (environ or {}),
        start_new_session=True,
    )
    human = Human(child, master, slave, columns, rows)
    try:
        assert child.stdin is not None
        child.stdin.write(b"a\n" * 20)  # a yes on standard input, which nobody may read
        child.stdin.close()
        yield human
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()
        for fd in {human.master, human.slave} - {-1}:
            with suppress(OSError):
                os.close(fd)


def environment() -> dict[str, str]:
    """Return what a terminal's programs see; coverage goes on in them."""
    kept = {k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")}
    known = ("PATH", "PYTHONPATH", "HOME")
    kept |= {name: os.environ[name] for name in known if name in os.environ}
    return kept | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
