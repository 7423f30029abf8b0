"""Progress of held calls always increases."""

from itertools import pairwise

import pytest

from luminaguard.gateway.waiting import Held

pytestmark = pytest.mark.anyio


async def heard_of(*steps: float | None) -> list[float]:
    """Return what the client hears of beats (None) and of the server's own values."""
    heard: list[float] = []

    async def send(progress: float, total: float | None, message: str | None) -> None:
        del total, message
        heard.append(progress)

    held = Held(send=send)
    for step in steps:
        await (held.beat("waiting") if step is None else held.passed_on(step, 100, None))
    return heard


async def test_the_servers_values_pass_as_they_are_where_nothing_was_held() -> None:
    assert await heard_of(0, 50, 100) == [0, 50, 100]


async def test_values_increase_from_beats_to_the_servers_own() -> None:
    heard = await heard_of(None, None, None, 0, 50, 100)
    assert len(heard) == 6
    assert all(one < other for one, other in pairwise(heard))


async def test_a_server_that_goes_back_is_not_passed_on() -> None:
    assert await heard_of(50, 10, 50, 60) == [50, 60]
