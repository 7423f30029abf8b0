"""How far a long command is, as a person and as a log file see it."""

import io

import pytest

from luminaguard.cli.stages import Stages


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_for_each_stage() -> None:
    log = io.StringIO()
    with Stages(log) as stages:
        stages.show("fetching", 0.0)
        stages.show("fetching", 1.0)
        stages.show("packing", None)
    assert [line.partition(":")[0] for line in log.getvalue().splitlines()] == [
        "fetching",
        "packing",
    ]
    assert "\x1b" not in log.getvalue()
    assert "\r" not in log.getvalue()


def test_a_terminal_sees_the_share_that_is_done() -> None:
    terminal = Terminal()
    with Stages(terminal) as stages:
        stages.show("fetching", 0.5)
    assert "[############............]  50%" in terminal.getvalue()


def test_the_stage_that_failed_is_named() -> None:
    log = io.StringIO()

    def fail() -> None:
        with Stages(log) as stages:
            stages.show("packing", None)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert log.getvalue() == "packing: failed\n"
