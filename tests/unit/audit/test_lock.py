"""The lock that lets one writer at a time at the log."""

import threading
from pathlib import Path

import pytest

from luminaguard.audit.lock import FileLock


def test_a_lock_is_had_by_one_only(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


def test_waiting_for_a_lock_ends_in_time_and_says_so(tmp_path: Path) -> None:
    holder, waiter = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert holder.try_acquire()
    with pytest.raises(TimeoutError, match="locked by another process"):
        waiter.acquire(0.05)
    holder.release()


def test_who_gave_up_waiting_does_not_get_the_lock_later(tmp_path: Path) -> None:
    holder, gave_up = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert holder.try_acquire()
    with pytest.raises(TimeoutError):
        gave_up.acquire(0.05)
    holder.release()
    other = FileLock(tmp_path / "lock")
    other.acquire(10)
    assert not gave_up.try_acquire()
    other.release()


def test_forty_who_wait_all_get_their_turn_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most_inside: list[int] = []

    def work(number: int) -> None:
        lock = FileLock(tmp_path / "lock")
        for _ in range(5):
            lock.acquire(30)
            inside.append(number)
            most_inside.append(len(inside))
            inside.remove(number)
            lock.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most_inside == [1] * 200


def test_a_place_that_cannot_hold_a_lock_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        FileLock(tmp_path / "missing" / "lock").acquire(1)
