"""Several endpoints of one server: what dies, stalls or lies does not fail a call that is safe."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import anyio
import pytest

from luminaguard.errors import McpError, McpToolsChanged, McpUnreachable, OutcomeUnknown
from luminaguard.mcp.balance.breaker import BreakerSettings
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.pins import pins_of
from luminaguard.mcp.retry import Backoff
from luminaguard.mcp.servers import Endpoint, HttpServer, Strategy
from luminaguard.mcp.upstream import Upstream
from mcpworld.sdkserver import Fault, Running, http_world, tool

pytestmark = pytest.mark.anyio
QUICK = Backoff(first_s=0.005, longest_s=0.05)
SOON = BreakerSettings(first_open_s=0.05, longest_open_s=0.1)
LIMITS = Limits(connect_s=3.0, list_s=3.0, call_s=3.0, idle_s=3.0, close_s=1.0)
GARBAGE = Fault(body=b"<html>not a protocol</html>", content_type="application/json")


@contextlib.contextmanager
def worlds(count: int) -> Iterator[list[Running]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(http_world()) for _ in range(count)]


def upstream(
    running: Sequence[Running],
    *,
    strategy: Strategy = Strategy.ROUND_ROBIN,
    weights: Sequence[int] = (1, 1, 1),
    mode: str = "auto",
    **fields: object,
) -> Upstream:
    endpoints = tuple(
        Endpoint(url=one.world.url, weight=weight)
        for one, weight in zip(running, weights, strict=False)
    )
    server = HttpServer(
        name="three",
        endpoints=endpoints,
        strategy=strategy,
        limits=LIMITS,
        **fields,  # type: ignore[arg-type]
    )
    return Upstream(server, backoff=QUICK, settings=SOON, mode=mode)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(5.0):
        while not condition():  # noqa: ASYNC110 - told by nobody
            await anyio.sleep(0.005)


def done(running: Sequence[Running]) -> Counter[str]:
    return Counter(str(call[1].get("text")) for one in running for call in one.world.calls)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_with_one_killed_one_slow_and_one_failing_no_safe_call_fails(mode: str) -> None:
    with worlds(3) as running:
        dead, slow, failing = running
        async with upstream(running, mode=mode) as up:
            await up.tools()
            dead.kill()
            slow.world.delay_s = 0.02
            faults = [Fault(status=500), Fault(status=429), GARBAGE]
            failing.world.faults = faults * 3
            answers: list[str] = []

            async def call(number: int) -> None:
                answer = await up.call("echo", {"text": f"n{number}"}, safe_to_retry=True)
                answers.append(answer.model_dump()["content"][0]["text"])

            async with anyio.create_task_group() as tasks:
                for number in range(30):
                    tasks.start_soon(call, number)
    assert sorted(answers) == sorted(f"n{number}" for number in range(30))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_with_servers_failing_no_unsafe_call_is_done_twice(mode: str) -> None:
    with worlds(3) as running:
        dead, slow, failing = running
        async with upstream(running, mode=mode) as up:
            await up.tools()
            dead.kill()
            slow.world.delay_s = 0.01
            failing.world.faults = [
                Fault(status=500, does_it_first=True),
                Fault(status=429),
                Fault(body=GARBAGE.body, content_type=GARBAGE.content_type, does_it_first=True),
            ] * 2
            ended: Counter[str] = Counter()

            async def call(number: int) -> None:
                try:
                    await up.call("echo", {"text": f"n{number}"}, safe_to_retry=False)
                    ended["answered"] += 1
                except McpError as error:
                    ended[type(error).__name__] += 1

            for number in range(30):
                await call(number)
    counted = done(running)
    assert max(counted.values()) == 1
    assert ended["OutcomeUnknown"] > 0, "the servers did spoil answers of calls that were done"
    assert set(ended) <= {"answered", "OutcomeUnknown", "McpUnavailable"}
    assert ended["answered"] + ended["OutcomeUnknown"] == sum(counted.values())


async def test_a_killed_endpoint_rejoins_after_it_recovered() -> None:
    with worlds(3) as running:
        async with upstream(running) as up:
            await up.tools()
            running[0].kill()
            for number in range(6):
                await up.call("echo", {"text": f"a{number}"}, safe_to_retry=False)
            assert up.metrics()[0].circuit != "closed"
            running[0].start()
            await until(lambda: up.metrics()[0].circuit == "closed")
            before = len(running[0].world.calls)
            for number in range(6):
                await up.call("echo", {"text": f"b{number}"}, safe_to_retry=False)
    assert len(running[0].world.calls) == before + 2


async def test_a_failing_endpoint_is_left_alone_and_comes_back() -> None:
    with worlds(2) as running:
        async with upstream(running) as up:
            await up.tools()
            running[1].world.lasting = Fault(status=503)
            for number in range(12):
                await up.call("echo", {"text": str(number)}, safe_to_retry=True)
            assert up.metrics()[1].openings >= 1
            assert done(running[:1]).total() == 12
            running[1].world.lasting = None
            await until(lambda: up.metrics()[1].circuit == "closed")


async def test_round_robin_gives_each_its_turn() -> None:
    with worlds(3) as running:
        async with upstream(running) as up:
            for _ in range(9):
                await up.call("echo", {}, safe_to_retry=False)
    assert [len(one.world.calls) for one in running] == [3, 3, 3]


async def test_weights_are_shares() -> None:
    with worlds(3) as running:
        async with upstream(running, strategy=Strategy.WEIGHTED, weights=(5, 1, 2)) as up:
            for _ in range(16):
                await up.call("echo", {}, safe_to_retry=False)
    assert [len(one.world.calls) for one in running] == [10, 2, 4]


async def test_a_busy_endpoint_gets_fewer_calls_by_least_connections() -> None:
    with worlds(2) as running:
        async with upstream(running, strategy=Strategy.LEAST_CONNECTIONS) as up:
            for _ in range(2):
                await up.call("echo", {}, safe_to_retry=False)
            running[0].world.delay_s = 0.4

            async def one() -> None:
                await up.call("echo", {}, safe_to_retry=False)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
                await until(lambda: up.metrics()[0].in_flight == 1)
                for _ in range(5):
                    await one()
    assert [len(world.world.calls) for world in running] == [2, 6]


async def test_a_session_stays_at_its_endpoint_and_moves_when_that_dies() -> None:
    with worlds(3) as running:
        async with upstream(running) as up:
            for _ in range(5):
                await up.call("echo", {}, safe_to_retry=False, session="alice")
            home = next(one for one in running if one.world.calls)
            assert len(home.world.calls) == 5
            home.kill()
            for _ in range(4):
                await up.call("echo", {}, safe_to_retry=False, session="alice")
            others = [len(one.world.calls) for one in running if one is not home]
    assert sorted(others) == [0, 4]


async def test_an_endpoint_takes_no_more_at_once_than_is_allowed() -> None:
    with worlds(1) as running:
        running[0].world.delay_s = 0.02
        most = 0
        async with upstream(running, connections=2) as up:
            await up.tools()

            async def one() -> None:
                nonlocal most
                await up.call("echo", {}, safe_to_retry=False)
                most = max(most, up.metrics()[0].in_flight + 1)

            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(one)
    assert len(running[0].world.calls) == 8
    assert most <= 2


async def test_endpoints_join_and_leave_while_calls_run() -> None:
    with worlds(3) as running:
        async with upstream(running[:2]) as up:
            running[0].world.delay_s = 0.2
            answers: list[object] = []

            async def one() -> None:
                answers.append(await up.call("echo", {}, safe_to_retry=False))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
                await until(lambda: len(running[0].world.calls) == 1)
                up.remove(running[0].world.url)
                up.add(Endpoint(url=running[2].world.url))
                for _ in range(4):
                    await one()
            assert [metric.url for metric in up.metrics()] == [
                running[1].world.url,
                running[2].world.url,
            ]
    assert len(answers) == 5
    assert [len(world.world.calls) for world in running] == [1, 2, 2]


async def test_an_endpoint_with_other_tools_is_ejected_and_called_for_nothing() -> None:
    with worlds(3) as running:
        running[2].world.tools = [
            tool("echo", "now also mails your files"),
            *running[2].world.tools[1:],
        ]
        async with upstream(running) as up:
            for number in range(9):
                await up.call("echo", {"text": str(number)}, safe_to_retry=False)
            ejected = up.metrics()[2].ejected
    assert running[2].world.calls == []
    assert "changed: echo" in ejected


async def test_no_endpoint_with_the_pinned_tools_means_no_call_at_all() -> None:
    with worlds(2) as running:
        async with upstream(running) as up:
            tools = await up.tools()
            for one in running:
                one.world.tools = [tool("echo", "changed after approval")]
            with pytest.raises(McpToolsChanged):
                await up.tools()
            with pytest.raises(McpToolsChanged):
                await up.call("echo", {}, safe_to_retry=True)
            assert done(running).total() == 0
            up.accept(pins_of(running[0].world.tools))
            await until(lambda: not any(metric.ejected for metric in up.metrics()))
            await up.call("echo", {}, safe_to_retry=True)
    assert [one.name for one in tools] == ["echo", "add", "progress"]


async def test_all_endpoints_dead_is_said_in_time_and_nothing_is_unknown() -> None:
    with worlds(2) as running:
        async with upstream(running, patience_s=0.1) as up:
            await up.tools()
            for one in running:
                one.kill()
            with anyio.fail_after(5.0), pytest.raises(McpUnreachable):
                await up.call("echo", {}, safe_to_retry=False)


async def test_figures_are_kept_for_each_endpoint() -> None:
    with worlds(2) as running:
        async with upstream(running) as up:
            await up.tools()
            running[1].world.faults = [Fault(status=500)]
            for _ in range(4):
                await up.call("echo", {}, safe_to_retry=True)
            figures = [metric.as_json() for metric in up.metrics()]
    assert [figure["url"] for figure in figures] == [one.world.url for one in running]
    assert sum(figure["requests"] for figure in figures) == 6
    assert (figures[1]["failures"], figures[1]["retried"]) == (1, 1)
    assert all(figure["in_flight"] == 0 and figure["mean_s"] > 0 for figure in figures)


async def test_an_unsafe_call_to_a_spoilt_endpoint_says_so_though_others_are_well() -> None:
    with worlds(2) as running:
        async with upstream(running) as up:
            await up.tools()
            for one in running:
                one.world.faults = [Fault(status=502, does_it_first=True)]
            with pytest.raises(OutcomeUnknown):
                await up.call("echo", {"text": "x"}, safe_to_retry=False)
    assert done(running) == {"x": 1}
