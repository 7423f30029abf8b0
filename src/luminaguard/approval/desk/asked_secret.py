"""Typing the approver secret: on the terminal itself, unseen, never from standard input."""

import os
import time
from codecs import getincrementaldecoder

from luminaguard.approval.desk.refusals import NotProven
from luminaguard.approval.desk.secret import LONGEST_SECRET, Enrollment, Prover, unlock
from luminaguard.approval.terminal import Terminal, TimeIsUp, open_terminal
from luminaguard.errors import ApprovalError

TYPING_S = 120.0
TRIES = 3


def ask_secret(question: str, *, path: str = "/dev/tty", limit_s: float = TYPING_S) -> str:
    """Return a line that was typed on the terminal without being shown. Blocking.

    Raises:
        ApprovalError: there is no terminal, nobody typed in time, or Ctrl-C was pressed.
    """
    until = time.monotonic() + limit_s
    wake_fd, bell_fd = os.pipe()  # nobody rings: the time is the only end
    try:
        with (
            open_terminal(
                path, wake_fd=wake_fd, left_s=lambda: until - time.monotonic()
            ) as terminal,
            terminal.single_keys(),
        ):
            terminal.forget_typed()
            terminal.write(question)
            try:
                return _line(terminal)
            finally:
                terminal.say_at_once("\n")
    except TimeIsUp:
        raise ApprovalError("nobody typed the secret in time") from None
    finally:
        os.close(wake_fd)
        os.close(bell_fd)


def ask_prover(enrollment: Enrollment, *, path: str = "/dev/tty") -> Prover:
    """Have the enrolled secret typed, a few times if need be. Blocking.

    Raises:
        ApprovalError: nobody knew it.
    """
    for left in reversed(range(TRIES)):
        try:
            return unlock(enrollment, ask_secret("Approver secret: ", path=path))
        except NotProven:
            if not left:
                raise
    raise NotProven("that is not the approver secret")


def _line(terminal: Terminal) -> str:
    decoder = getincrementaldecoder("utf-8")("ignore")
    line = ""
    while True:
        for char in decoder.decode(terminal.read(TYPING_S)):
            if char in "\r\n":
                return line
            if char in "\x03\x04\x1b":
                raise ApprovalError("no secret was typed")
            line = line[:-1] if char in "\x7f\b" else (line + char)[: LONGEST_SECRET + 1]
