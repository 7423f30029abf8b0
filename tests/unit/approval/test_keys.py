"""Which key presses count; times are given, none passes."""

import pytest

from luminaguard.approval.keys import KeyGate


@pytest.fixture
def gate() -> KeyGate:
    gate = KeyGate(arm_after_s=1.0, quiet_s=0.1)
    gate.shown(10.0)
    return gate


def test_a_lone_key_counts_once_after_it_was_quiet(gate: KeyGate) -> None:
    gate.typed(b"a", 11.5)
    assert gate.answer(11.55) == b""
    assert gate.answer(11.7) == b"a"
    assert gate.answer(11.8) == b""


def test_a_key_before_the_keys_are_armed_never_counts(gate: KeyGate) -> None:
    gate.typed(b"a", 10.9)
    assert gate.answer(99.0) == b""


def test_a_held_key_never_counts(gate: KeyGate) -> None:
    for step in range(100):
        gate.typed(b"a", 12.0 + step * 0.03)
        assert gate.answer(12.0 + step * 0.03) == b""
    assert gate.answer(99.0) == b""


def test_two_keys_in_a_row_spoil_each_other(gate: KeyGate) -> None:
    gate.typed(b"a", 12.0)
    gate.typed(b"r", 12.05)
    assert gate.answer(99.0) == b""


def test_several_bytes_at_once_never_count(gate: KeyGate) -> None:
    gate.typed(b"\x1b[a", 12.0)
    assert gate.answer(99.0) == b""


def test_drawing_again_disarms(gate: KeyGate) -> None:
    gate.typed(b"a", 12.0)
    gate.shown(12.05)
    assert gate.answer(99.0) == b""
    assert not gate.is_armed(13.0)
    assert gate.is_armed(13.06)


def test_it_says_how_long_to_wait(gate: KeyGate) -> None:
    assert gate.wait_s(10.5) == pytest.approx(0.5)
    assert gate.wait_s(20.0) > 3600
    gate.typed(b"a", 20.0)
    assert gate.wait_s(20.02) == pytest.approx(0.08)
