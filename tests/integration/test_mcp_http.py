"""One server by HTTP: what a user of it can rely on, in both revisions of the protocol."""

from typing import Any

import anyio
import pytest
from mcp_types import ElicitResult, InputRequiredResult, PromptReference

from luminaguard.errors import (
    McpAuthError,
    McpRefused,
    McpTimedOut,
    McpUnavailable,
    McpUnreachable,
    OutcomeUnknown,
)
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.link import Callbacks
from luminaguard.mcp.retry import Backoff
from luminaguard.mcp.secret import Secret
from luminaguard.mcp.servers import Endpoint, HttpServer
from luminaguard.mcp.upstream import Upstream
from mcpworld.sdkserver import Fault, HttpWorld, http_world, tool

pytestmark = pytest.mark.anyio
QUICK = Backoff(first_s=0.005, longest_s=0.05)
LIMITS = Limits(connect_s=5.0, list_s=5.0, call_s=5.0, idle_s=5.0, close_s=1.0)


def server(world: HttpWorld, *, limits: Limits = LIMITS, **fields: object) -> HttpServer:
    return HttpServer(
        name="world",
        endpoints=(Endpoint(url=world.url),),
        limits=limits,
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["json", "stream"])
def json_response(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_a_tool_answers_with_what_the_server_said(mode: str, json_response: bool) -> None:
    with http_world(json_response=json_response) as running:
        async with Upstream(server(running.world), mode=mode) as up:
            answer = await up.call("echo", {"text": "héllo"}, safe_to_retry=False)
    assert answer.model_dump()["content"][0]["text"] == "héllo"
    assert running.world.calls == [("echo", {"text": "héllo"})]


async def test_the_newest_revision_that_both_know_is_spoken(mode: str) -> None:
    with http_world() as running:
        async with Upstream(server(running.world), mode=mode) as up:
            about = await up.about()
    assert about.revision == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert about.info is not None
    assert about.info.name == "world"


async def test_a_listing_is_read_to_its_last_page(mode: str) -> None:
    tools = [tool(f"t{number}") for number in range(25)]
    with http_world(tools=tools, page=10) as running:
        async with Upstream(server(running.world), mode=mode) as up:
            found = await up.tools()
    assert [one.name for one in found] == [one.name for one in tools]


async def test_resources_prompts_and_completion_come_through(mode: str) -> None:
    with http_world() as running:
        async with Upstream(server(running.world), mode=mode) as up:
            resources = await up.resources()
            templates = await up.resource_templates()
            read = await up.read("note://1")
            prompts = await up.prompts()
            prompt = await up.prompt("greet", {"who": "Ada"})
            argument = {"name": "who", "value": "A"}
            completed = await up.complete(
                PromptReference(type="ref/prompt", name="greet"), argument
            )
    assert [one.name for one in resources] == ["note"]
    assert [one.uri_template for one in templates] == ["note://{id}"]
    assert read.model_dump()["contents"][0]["text"] == "noted"
    assert [one.name for one in prompts] == ["greet"]
    assert prompt.model_dump()["messages"][0]["content"]["text"] == "Hello Ada"
    assert completed.completion.values == ["A-done"]


async def test_progress_is_told_while_the_call_runs(mode: str) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    with http_world(json_response=False) as running:
        async with Upstream(server(running.world), mode=mode) as up:
            await up.call("progress", {}, safe_to_retry=False, on_progress=on_progress)
    assert heard == [(0.0, 3.0, "step 0"), (1.0, 3.0, "step 1"), (2.0, 3.0, "step 2")]


async def test_many_calls_at_once_each_get_their_own_answer(mode: str) -> None:
    answers: dict[int, str] = {}
    with http_world() as running:
        async with Upstream(server(running.world), mode=mode) as up:

            async def call(number: int) -> None:
                answer = await up.call("echo", {"text": f"n{number}"}, safe_to_retry=False)
                answers[number] = answer.model_dump()["content"][0]["text"]

            async with anyio.create_task_group() as tasks:
                for number in range(40):
                    tasks.start_soon(call, number)
    assert answers == {number: f"n{number}" for number in range(40)}


async def test_an_error_of_the_tool_is_an_answer(mode: str) -> None:
    with http_world() as running:
        async with Upstream(server(running.world), mode=mode) as up:
            answer = await up.call("fails", {}, safe_to_retry=True)
    assert answer.model_dump()["is_error"] is True
    assert len(running.world.calls) == 1


async def test_an_error_of_the_server_is_said_and_not_retried(mode: str) -> None:
    with http_world() as running:
        async with Upstream(server(running.world), mode=mode, backoff=QUICK) as up:
            with pytest.raises(McpRefused):
                await up.call("missing", {}, safe_to_retry=True)
    assert len(running.world.calls) == 1


async def test_headers_and_bearer_reach_the_server_and_no_error(mode: str) -> None:
    headers = {"Authorization": Secret("Bearer t0p-s3cret"), "X-Team": Secret("blue")}
    with http_world() as running:
        async with Upstream(server(running.world, headers=headers), mode=mode) as up:
            await up.tools()
            running.world.lasting = Fault(status=403, body=b"no: Bearer t0p-s3cret")
            with pytest.raises(McpAuthError) as refused:
                await up.call("echo", {}, safe_to_retry=True)
    assert {post["authorization"] for post in running.world.posts} == {"Bearer t0p-s3cret"}
    assert {post["x-team"] for post in running.world.posts} == {"blue"}
    assert "s3cret" not in f"{refused.value!r} {refused.value.hint} {refused.value.context}"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_safe_call_goes_on_after_the_server_failed(mode: str, status: int) -> None:
    with http_world(faults=[Fault(status=status)] * 2) as running:
        async with Upstream(server(running.world), mode=mode, backoff=QUICK) as up:
            answer = await up.call("echo", {"text": "done"}, safe_to_retry=True)
    assert answer.model_dump()["content"][0]["text"] == "done"


@pytest.mark.parametrize("status", [500, 503])
async def test_an_unsafe_call_that_may_have_been_done_is_not_sent_again(
    mode: str, status: int
) -> None:
    fault = Fault(status=status, does_it_first=True)
    with http_world(faults=[fault]) as running:
        async with Upstream(server(running.world), mode=mode, backoff=QUICK) as up:
            with pytest.raises(OutcomeUnknown, match="unknown what it did"):
                await up.call("echo", {"text": "once"}, safe_to_retry=False)
    assert running.world.calls == [("echo", {"text": "once"})]


async def test_an_unsafe_call_that_was_turned_away_is_not_called_unknown() -> None:
    with http_world(faults=[Fault(status=429)]) as running:
        async with Upstream(server(running.world), backoff=QUICK) as up:
            with pytest.raises(McpUnavailable):
                await up.call("echo", {}, safe_to_retry=False)
    assert running.world.calls == []


async def test_a_server_that_asks_for_time_gets_it() -> None:
    fault = Fault(status=429, headers=(("retry-after", "0.3"),))
    with http_world(faults=[fault]) as running:
        async with Upstream(server(running.world), backoff=QUICK) as up:
            await up.tools()
            began_s = anyio.current_time()
            await up.call("echo", {}, safe_to_retry=True)
            took_s = anyio.current_time() - began_s
    assert took_s >= 0.3


async def test_nobody_listening_is_said_and_nothing_is_unknown() -> None:
    with http_world() as running:
        running.kill()
        alone = server(running.world, patience_s=0.0)
        async with Upstream(alone, backoff=QUICK) as up:
            with pytest.raises(McpUnreachable):
                await up.call("echo", {}, safe_to_retry=False)


async def test_a_call_that_takes_too_long_is_cancelled_and_said(mode: str) -> None:
    limits = Limits(connect_s=5.0, call_s=0.2, idle_s=0.2, close_s=1.0)
    with http_world(delay_s=5.0) as running:
        async with Upstream(server(running.world, limits=limits, attempts=1), mode=mode) as up:
            await up.tools()
            with pytest.raises(OutcomeUnknown) as unknown:
                await up.call("echo", {}, safe_to_retry=False)
    assert isinstance(unknown.value.__cause__, McpTimedOut)
    assert len(running.world.calls) == 1


async def test_a_caller_that_gives_up_leaves_a_connection_that_works(mode: str) -> None:
    with http_world(delay_s=5.0) as running:
        async with Upstream(server(running.world), mode=mode) as up:
            await up.tools()
            with anyio.move_on_after(0.1):
                await up.call("echo", {}, safe_to_retry=False)
            running.world.delay_s = 0.0
            await up.call("echo", {}, safe_to_retry=False)
            assert up.metrics()[0].in_flight == 0


async def test_a_server_that_restarted_is_used_again_without_a_failed_call(mode: str) -> None:
    with http_world() as running:
        async with Upstream(server(running.world), mode=mode, backoff=QUICK) as up:
            await up.call("echo", {"text": "1"}, safe_to_retry=False)
            running.kill()
            running.start()
            await up.call("echo", {"text": "2"}, safe_to_retry=True)
            await up.call("echo", {"text": "3"}, safe_to_retry=False)
    assert [arguments["text"] for _, arguments in running.world.calls] == ["1", "2", "3"]


async def test_a_question_of_the_server_reaches_the_callback_and_its_answer_the_server() -> None:
    asked: list[str] = []

    async def elicit(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"which": "this"})

    with http_world() as running:
        async with Upstream(server(running.world), callbacks=Callbacks(elicit=elicit)) as up:
            answer = await up.call("ask", {}, safe_to_retry=False)
    assert asked == ["Which?"]
    assert "kept" in str(answer)
    assert "this" in str(answer)


async def test_a_question_is_handed_on_where_the_caller_wants_that() -> None:
    with http_world() as running:
        async with Upstream(server(running.world)) as up:
            found = await up.call("ask", {}, safe_to_retry=False, passes_questions=True)
    assert isinstance(found, InputRequiredResult)
    assert list(found.input_requests or {}) == ["q"]


async def test_a_question_that_nobody_can_answer_refuses_the_call() -> None:
    with http_world() as running:
        async with Upstream(server(running.world)) as up:
            with pytest.raises(McpRefused):
                await up.call("ask", {}, safe_to_retry=False)
