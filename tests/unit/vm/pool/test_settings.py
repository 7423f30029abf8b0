"""Absurd limits are refused with what would fit."""

import pytest

from luminaguard.errors import ConfigError
from luminaguard.vm.pool.settings import MIB, PoolSettings


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        (
            {"size": 9, "max_machines": 8},
            "is more than pool.max_machines = 8",
            "at most 8",
        ),
        ({"size": -1}, "pool.size = -1 is not a usable number", "leave it out"),
        ({"max_machines": 0, "size": 0}, "pool.max_machines must be more than 0", "default"),
        ({"max_machines": 100_000}, "more than one process can hold", "at most 4096"),
        ({"max_waiting": 0}, "pool.max_waiting must be more than 0", "default"),
        ({"patience_s": float("nan")}, "pool.patience_s = nan", "leave it out"),
        ({"lease_s": float("inf")}, "pool.lease_s = inf", "leave it out"),
        ({"max_age_s": -5.0}, "pool.max_age_s = -5.0", "leave it out"),
        ({"memory_reserve_mib": -1}, "pool.memory_reserve_mib = -1", "leave it out"),
    ],
)
def test_an_absurd_setting_is_refused_with_what_mends_it(
    values: dict[str, float], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        PoolSettings(**values)  # type: ignore[arg-type]
    assert hint in (raised.value.hint or "")


def test_a_pool_without_a_store_and_without_a_reserve_is_fine() -> None:
    assert PoolSettings(size=0, memory_reserve_mib=0).memory_reserve_bytes == 0


def test_a_store_larger_than_the_memory_is_refused_with_the_size_that_fits() -> None:
    settings = PoolSettings(size=30, memory_reserve_mib=1000)
    with pytest.raises(ConfigError, match="only 1000 MiB may be used") as raised:
        settings.check_memory(2000 * MIB, clone_bytes=100 * MIB)
    assert "size to at most 10" in (raised.value.hint or "")


def test_a_reserve_that_leaves_no_room_is_refused_with_one_that_does() -> None:
    settings = PoolSettings(memory_reserve_mib=2000)
    with pytest.raises(ConfigError, match="leaves no room for a machine in 2000 MiB") as raised:
        settings.check_memory(2000 * MIB, clone_bytes=100 * MIB)
    assert "at most 1900" in (raised.value.hint or "")


def test_where_nobody_tells_the_memory_nothing_is_refused_for_it() -> None:
    PoolSettings(size=64).check_memory(None, clone_bytes=1 << 40)
