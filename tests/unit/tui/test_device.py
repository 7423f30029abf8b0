"""A terminal that takes no output, or is gone, never holds up whoever draws on it."""

import os
import pty
from collections.abc import Generator

import pytest

from luminaguard.errors import ApprovalError
from luminaguard.tui.check import check_terminal
from luminaguard.tui.device import TerminalFile


@pytest.fixture
def terminal() -> Generator[tuple[int, int]]:
    master, slave = pty.openpty()
    os.set_blocking(slave, False)
    yield master, slave
    for fd in (master, slave):
        try:
            os.close(fd)
        except OSError:
            continue


def test_frames_reach_the_terminal(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    device = TerminalFile(fd=slave)
    device.write("héllo")
    assert os.read(master, 100) == "héllo".encode()
    assert (device.written, device.is_stalled, device.is_lost) == (1, False, False)
    assert (device.fileno(), device.isatty()) == (slave, True)


def test_a_stalled_terminal_drops_frames_and_tells_when_it_takes_them(
    terminal: tuple[int, int],
) -> None:
    master, slave = terminal
    told: list[str] = []
    device = TerminalFile(fd=slave, patience_s=0.05, on_recovered=lambda: told.append("recovered"))
    device.write("x" * (1 << 20))
    assert device.is_stalled
    device.write("dropped")
    assert (device.written, told) == (2, [])
    while len(os.read(master, 1 << 16)) == 1 << 16:
        continue
    os.set_blocking(master, False)
    try:
        while os.read(master, 1 << 16):
            continue
    except BlockingIOError:
        pass
    device.write("drawn")
    assert told == ["recovered"]
    assert not device.is_stalled
    assert os.read(master, 100) == b"\x18drawn"


def test_a_terminal_that_is_gone_is_told_once(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    told: list[str] = []
    device = TerminalFile(fd=slave, on_lost=lambda: told.append("lost"))
    os.close(master)
    device.write("one")
    device.write("two")
    assert (device.is_lost, told) == (True, ["lost"])


@pytest.mark.parametrize("term", ["", "dumb", "unknown"])
def test_a_terminal_that_cannot_place_text_is_refused(terminal: tuple[int, int], term: str) -> None:
    path = os.ttyname(terminal[1])
    with pytest.raises(ApprovalError, match="no screen can be drawn") as refused:
        check_terminal({"TERM": term}, path=path)
    assert "--approver tty" in (refused.value.hint or "")
    check_terminal({"TERM": "xterm"}, path=path)
