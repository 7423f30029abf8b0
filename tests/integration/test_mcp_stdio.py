"""Servers on the host's pipes: real processes, honest and hostile ones."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from luminaguard.errors import (
    McpAnswerBroken,
    McpConnectionLost,
    McpError,
    McpRefused,
    McpTimedOut,
    McpUnreachable,
    OutcomeUnknown,
)
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.link import Listed
from luminaguard.mcp.retry import Backoff
from luminaguard.mcp.secret import Secret
from luminaguard.mcp.servers import StdioServer, Where
from luminaguard.mcp.upstream import Upstream

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX"),
]
SERVER = Path(__file__).parent.parent / "mcpworld" / "stdioserver.py"
LIMITS = Limits(
    connect_s=10.0, list_s=10.0, call_s=10.0, idle_s=10.0, close_s=1.0, answer_bytes=1_000_000
)


def pipes(how: str = "honest", *, limits: Limits = LIMITS, **fields: Any) -> StdioServer:
    return StdioServer(
        name="pipes",
        command=sys.executable,
        args=("-S", "-E", str(SERVER), how),
        limits=limits,
        **{"where": Where.HOST, **fields},
    )


def up_to(server: StdioServer) -> Upstream:
    return Upstream(server, backoff=Backoff(first_s=0.005, longest_s=0.05))


def words(answer: Any) -> str:
    return str(answer.content[0].text)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(5.0):
        while not condition():  # noqa: ASYNC110 - told by nobody
            await anyio.sleep(0.01)


@pytest.mark.parametrize("how", ["honest", "greets"])
async def test_a_process_answers(how: str) -> None:
    async with up_to(pipes(how)) as up:
        assert words(await up.call("echo", {"text": "hi"}, safe_to_retry=False)) == "hi"
        assert (await up.about()).revision == "2025-11-25"


async def test_the_sdk_s_own_server_answers_in_the_newest_revision() -> None:
    program = (
        "from mcp.server.mcpserver import MCPServer\n"
        "server = MCPServer('own')\n"
        "@server.tool()\n"
        "def add(a: int, b: int) -> int:\n"
        "    return a + b\n"
        "server.run()\n"
    )
    server = StdioServer(name="own", command=sys.executable, args=("-c", program), where=Where.HOST)
    async with up_to(server) as up:
        assert [tool.name for tool in await up.tools()] == ["add"]
        assert words(await up.call("add", {"a": 2, "b": 3}, safe_to_retry=False)) == "5"
        assert (await up.about()).revision == "2026-07-28"


async def test_calls_at_once_each_get_their_own_answer() -> None:
    answers: dict[int, str] = {}
    async with up_to(pipes()) as up:

        async def call(number: int) -> None:
            answers[number] = words(
                await up.call("echo", {"text": f"n{number}"}, safe_to_retry=False)
            )

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(call, number)
    assert answers == {number: f"n{number}" for number in range(50)}


async def test_a_process_sees_only_the_environment_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTHER_SECRET", "must not leak")
    async with up_to(pipes(env={"TOKEN": Secret("t0ken")})) as up:
        found = json.loads(words(await up.call("environment", {}, safe_to_retry=False)))
    assert set(found) <= {"PATH", "TOKEN", "LC_CTYPE"}
    assert found["TOKEN"] == "t0ken"


async def test_a_process_runs_where_it_is_told(tmp_path: Path) -> None:
    async with up_to(pipes(cwd=str(tmp_path))) as up:
        assert words(await up.call("where", {}, safe_to_retry=False)) == str(tmp_path)


async def test_a_server_that_belongs_into_a_machine_is_not_started_on_the_host() -> None:
    async with up_to(pipes(where=Where.MACHINE)) as up:
        with pytest.raises(McpUnreachable, match="not to run on the host"):
            await up.call("echo", {}, safe_to_retry=False)


async def test_a_command_that_is_not_there_is_said() -> None:
    server = StdioServer(name="none", command="no-such-program-here", where=Where.HOST)
    async with up_to(server) as up:
        with pytest.raises(McpUnreachable, match="cannot be started"):
            await up.tools()


async def test_a_process_that_dies_at_its_start_is_said_in_its_own_words() -> None:
    async with up_to(pipes("dies")) as up:
        with pytest.raises(McpError) as died:
            await up.tools()
    assert "no license" in str(died.value.hint)


async def test_a_process_that_never_answers_is_given_up_in_time() -> None:
    limits = Limits(connect_s=0.3, close_s=0.5)
    async with up_to(pipes("silent", limits=limits)) as up:
        with anyio.fail_after(8.0), pytest.raises(McpTimedOut):
            await up.tools()


async def test_everything_that_a_process_started_ends_with_it() -> None:
    async with up_to(pipes()) as up:
        child = int(words(await up.call("child", {}, safe_to_retry=False)))
        assert is_alive(child)
    await until(lambda: not is_alive(child))


async def test_a_process_that_ignores_being_asked_is_killed() -> None:
    async with up_to(pipes("stubborn")) as up:
        child = int(words(await up.call("child", {}, safe_to_retry=False)))
        parent = parent_of(child)
        assert parent != os.getpid()
    await until(lambda: not is_alive(parent) and not is_alive(child))


async def test_progress_of_a_process_is_told() -> None:
    heard: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with up_to(pipes()) as up:
        await up.call("progress", {}, safe_to_retry=False, on_progress=on_progress)
    assert heard == [0, 1, 2]


async def test_a_change_of_the_tools_is_heard() -> None:
    async with up_to(pipes()) as up:
        await up.call("change", {}, safe_to_retry=False)
        with anyio.fail_after(5.0):
            assert await up.changed() is Listed.TOOLS


async def test_a_process_that_died_is_started_again_for_the_next_call() -> None:
    async with up_to(pipes()) as up:
        with pytest.raises(OutcomeUnknown) as unknown:
            await up.call("exit", {}, safe_to_retry=False)
        assert isinstance(unknown.value.__cause__, McpConnectionLost)
        assert words(await up.call("echo", {"text": "back"}, safe_to_retry=False)) == "back"


async def test_what_a_server_says_in_an_error_cannot_write_to_the_terminal() -> None:
    async with up_to(pipes()) as up:
        with pytest.raises(McpRefused) as refused:
            await up.call("unknown", {}, safe_to_retry=False)
    assert "\x1b" not in str(refused.value)
    assert "\\x1b[31m" in str(refused.value)


async def test_what_is_said_beside_the_protocol_is_bounded_and_does_no_harm() -> None:
    async with up_to(pipes()) as up:
        assert words(await up.call("chatter", {}, safe_to_retry=False)) == "said"


@pytest.mark.parametrize("name", ["huge", "endless", "deep", "stranger"])
async def test_a_hostile_answer_ends_the_connection_and_nothing_else(name: str) -> None:
    async with up_to(pipes()) as up:
        with anyio.fail_after(8.0), pytest.raises(OutcomeUnknown) as unknown:
            await up.call(name, {}, safe_to_retry=False)
        assert isinstance(unknown.value.__cause__, McpAnswerBroken)
        assert words(await up.call("echo", {"text": "on"}, safe_to_retry=False)) == "on"


@pytest.mark.parametrize("name", ["twice", "flood"])
async def test_a_server_that_says_more_than_it_was_asked_is_dropped(name: str) -> None:
    async with up_to(pipes(limits=Limits(answer_bytes=20_000, heard_bytes_per_s=10_000))) as up:
        with anyio.move_on_after(8.0):
            if name == "twice":
                await up.call(name, {}, safe_to_retry=False)
            else:
                with pytest.raises(OutcomeUnknown):
                    await up.call(name, {}, safe_to_retry=False)
        assert words(await up.call("echo", {"text": "on"}, safe_to_retry=True)) == "on"


async def test_a_call_without_an_answer_ends_in_time_and_the_connection_stays() -> None:
    limits = Limits(call_s=0.3, idle_s=0.3, close_s=0.5)
    async with up_to(pipes(limits=limits)) as up:
        await up.tools()
        with pytest.raises(OutcomeUnknown):
            await up.call("mute", {}, safe_to_retry=False)
        assert words(await up.call("echo", {"text": "on"}, safe_to_retry=False)) == "on"
