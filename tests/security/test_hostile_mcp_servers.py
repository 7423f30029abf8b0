"""MCP servers that want to take the client down, or to make it do what was not approved."""

import json
import resource
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from luminaguard.errors import (
    McpAnswerBroken,
    McpError,
    McpRefused,
    McpTimedOut,
    OutcomeUnknown,
)
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.retry import Backoff
from luminaguard.mcp.secret import Secret
from luminaguard.mcp.servers import Endpoint, HttpServer
from luminaguard.mcp.upstream import Upstream
from mcpworld.rawserver import RawServer, Said, raw_server

pytestmark = pytest.mark.anyio
LIMITS = Limits(
    connect_s=5.0,
    list_s=2.0,
    call_s=2.0,
    idle_s=2.0,
    close_s=0.5,
    answer_bytes=1_000_000,
    heard_bytes_per_s=100_000,
    pages=5,
    items=100,
)


def up_to(server: RawServer, limits: Limits = LIMITS, **headers: Secret) -> Upstream:
    configured = HttpServer(
        name="hostile",
        endpoints=(Endpoint(url=server.url),),
        limits=limits,
        headers=headers,
        patience_s=0.5,
    )
    return Upstream(configured, backoff=Backoff(first_s=0.005, longest_s=0.02), mode="legacy")


async def broken(script: Callable[[Said], None], limits: Limits = LIMITS) -> McpError:
    """Call a tool of a hostile server once; return why there is no answer."""
    with raw_server(script) as server:
        async with up_to(server, limits) as up:
            with anyio.fail_after(10.0), pytest.raises(OutcomeUnknown) as unknown:
                await up.call("echo", {}, safe_to_retry=False)
    assert server.asked.count("tools/call") == 1, "it was sent again"
    cause = unknown.value.__cause__
    assert isinstance(cause, McpError)
    return cause


def endless(said: Said, head: bytes, chunk: bytes) -> None:
    said.raw(head)
    while not said.over.is_set():
        said.raw(chunk)


CHUNK = b"10000\r\n" + b" " * 65_536 + b"\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def event(text: str) -> bytes:
    body = f"event: message\ndata: {text}\n\n".encode()
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


async def test_a_gigabyte_of_an_answer_is_not_taken_in() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    head = JSON + b"content-length: 1073741824\r\n\r\n"
    error = await broken(lambda said: endless(said, head, b" " * 65_536))
    assert isinstance(error, McpAnswerBroken)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 100_000


async def test_an_answer_in_endless_chunks_is_cut_off() -> None:
    head = JSON + b"transfer-encoding: chunked\r\n\r\n"
    error = await broken(lambda said: endless(said, head, CHUNK))
    assert isinstance(error, McpAnswerBroken)


async def test_an_endless_stream_of_events_is_cut_off() -> None:
    note = json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    limits = replace(LIMITS, answer_bytes=20_000, call_s=8.0, idle_s=8.0)
    error = await broken(lambda said: endless(said, STREAM, event(note)), limits)
    assert isinstance(error, McpAnswerBroken)


async def test_one_endless_event_is_cut_off() -> None:
    error = await broken(lambda said: endless(said, STREAM + b"6\r\ndata: \r\n", CHUNK))
    assert isinstance(error, McpAnswerBroken)


async def test_an_answer_a_byte_at_a_time_ends_with_the_deadline() -> None:
    def script(said: Said) -> None:
        said.raw(JSON + b"content-length: 1000\r\n\r\n")
        while not said.over.wait(0.05):
            said.raw(b" ")

    limits = Limits(connect_s=5.0, call_s=0.5, idle_s=0.5, close_s=0.5)
    assert isinstance(await broken(script, limits), McpTimedOut)


async def test_a_deep_answer_is_refused() -> None:
    deep = b'{"jsonrpc":"2.0","id":%d,"result":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    error = await broken(lambda said: said.json(deep.replace(b"%d", str(said.id).encode())))
    assert isinstance(error, McpAnswerBroken)


@pytest.mark.parametrize("kind", ["other", "text", "list"])
async def test_an_answer_to_another_question_is_not_taken_for_this_one(kind: str) -> None:
    other: Any = {"other": 999_999, "text": "abc", "list": [1]}[kind]
    answer = {"content": [{"type": "text", "text": "forged"}]}
    error = await broken(lambda said: said.result(answer, other))
    assert isinstance(error, McpAnswerBroken)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"jsonrpc":"2.0"}',
        b"\xff\xfe",
        b'{"id":1e999}',
        b"NaN",
        b"{" * 9,
    ],
)
async def test_garbage_is_no_answer(body: bytes) -> None:
    assert isinstance(await broken(lambda said: said.json(body)), McpAnswerBroken)


async def test_an_answer_packed_to_a_bomb_is_refused() -> None:
    def script(said: Said) -> None:
        said.json(b"\x1f\x8b" + b"\0" * 100, 200, "content-encoding: gzip")

    assert isinstance(await broken(script), McpAnswerBroken)


async def test_a_connection_that_breaks_off_is_not_an_answer() -> None:
    def script(said: Said) -> None:
        said.raw(JSON + b"content-length: 1000\r\n\r\n{")

    assert (await broken(script)).code == "mcp-connection-lost"


async def test_a_result_of_the_wrong_shape_is_refused() -> None:
    error = await broken(lambda said: said.result({"content": "not a list"}))
    assert isinstance(error, McpAnswerBroken)


async def test_secrets_do_not_follow_a_redirect_to_another_server() -> None:
    with raw_server(lambda said: None, friendly=False) as thief:

        def script(said: Said) -> None:
            said.head(307, "text/plain", f"location: {thief.url}", "content-length: 0")

        with raw_server(script) as server:
            async with up_to(server, Authorization=Secret("Bearer s3cret")) as up:
                with pytest.raises(McpError):
                    await up.call("echo", {}, safe_to_retry=True)
    assert thief.asked == []


async def test_a_listing_without_end_is_cut_off() -> None:
    def script(said: Said) -> None:
        said.result({"tools": [], "nextCursor": f"{said.id}"})

    with raw_server(pages_of(script)) as server:
        async with up_to(server) as up:
            with pytest.raises(McpAnswerBroken, match="pages"):
                await up.tools()


async def test_a_listing_that_goes_round_in_circles_is_noticed() -> None:
    with raw_server(pages_of(lambda said: said.result({"tools": [], "nextCursor": "x"}))) as server:
        async with up_to(server) as up:
            with pytest.raises(McpAnswerBroken, match="circles"):
                await up.tools()


async def test_two_tools_of_one_name_are_not_used() -> None:
    entry = {"name": "echo", "inputSchema": {"type": "object"}}
    with raw_server(pages_of(lambda said: said.result({"tools": [entry, entry]}))) as server:
        async with up_to(server) as up:
            with pytest.raises(McpAnswerBroken, match="same name"):
                await up.call("echo", {}, safe_to_retry=False)
    assert "tools/call" not in server.asked


def pages_of(script: Callable[[Said], None]) -> Callable[[Said], None]:
    """Make a server's own listing hostile."""

    def answer(said: Said) -> None:
        if said.method == "tools/list":
            script(said)

    answer.listing = True  # type: ignore[attr-defined]
    return answer


async def test_a_server_s_words_in_an_error_are_short_and_harmless() -> None:
    def script(said: Said) -> None:
        words = "\x1b]0;owned\x07\u202e" + "A" * 100_000
        error = {"code": -32000, "message": words}
        said.json({"jsonrpc": "2.0", "id": said.id, "error": error})

    with raw_server(script) as server:
        async with up_to(server) as up:
            with pytest.raises(McpRefused) as refused:
                await up.call("echo", {}, safe_to_retry=False)
    said = str(refused.value)
    assert len(said) < 1000
    assert said.isprintable()


async def test_a_header_that_asks_for_ages_is_not_waited_for() -> None:
    def script(said: Said) -> None:
        said.json(b"", 503, "retry-after: 100000000")

    with raw_server(script) as server:
        async with up_to(server) as up:
            with anyio.fail_after(8.0), pytest.raises(McpError):
                await up.call("echo", {}, safe_to_retry=True)
    assert server.asked.count("tools/call") == 1


async def test_a_call_that_was_sent_is_not_called_unsent_when_nobody_answers_later() -> None:
    def script(said: Said) -> None:
        note = b"id: 1\nretry: 1\ndata: \n\n"  # makes the client come back for the answer
        said.raw(STREAM, f"{len(note):x}\r\n".encode(), note, b"\r\n")
        said.hang_up()
        said.raw(b"0\r\n\r\n")

    assert (await broken(script)).code in {"mcp-connection-lost", "mcp-timeout"}
