"""The SDK's own server on loopback, with faults in front of it, and a count of what was done."""

import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import Server

Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
STARTED_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the next requests get instead of their answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()
    does_it_first: bool = False
    """The call is done before its answer is spoilt."""


@dataclass(kw_only=True)
class HttpWorld:
    """One server, and what happened at it."""

    port: int
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Tools called, in order: what was really done."""
    posts: list[dict[str, str]] = field(default_factory=list)
    """Headers of all that was posted."""
    faults: list[Fault] = field(default_factory=list)
    """For calls of tools: each is used once."""
    lasting: Fault | None = None
    """For every post, until it is taken away."""
    delay_s: float = 0.0
    tools: list[types.Tool] = field(default_factory=list)
    page: int = 0
    """Tools a page; 0: all at once."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


def tool(name: str, description: str = "") -> types.Tool:
    return types.Tool(name=name, description=description, input_schema={"type": "object"})


def mcp_server(world: HttpWorld) -> Server[Any]:  # noqa: C901 - one handler after another
    """A server with tools, a resource and a prompt."""

    async def on_list(
        ctx: Any, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        if not world.page:
            return types.ListToolsResult(tools=world.tools)
        at = int(params.cursor) if params and params.cursor else 0
        end = at + world.page
        more = str(end) if end < len(world.tools) else None
        return types.ListToolsResult(tools=world.tools[at:end], next_cursor=more)

    async def on_call(
        ctx: Any, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        arguments = params.arguments or {}
        world.calls.append((params.name, arguments))
        if world.delay_s:
            await anyio.sleep(world.delay_s)
        if params.name == "progress":
            for done in range(3):
                await ctx.session.report_progress(float(done), 3.0, f"step {done}")
        if params.name == "ask" and params.input_responses is None:
            return _question()
        if params.name == "ask":
            answered = (params.input_responses or {})["q"].model_dump(mode="json")
            text = types.TextContent(type="text", text=f"{params.request_state} {answered}")
            return types.CallToolResult(content=[text])
        if params.name == "missing":
            raise ValueError("no such thing")
        is_error = params.name == "fails"
        text = str(arguments.get("text", params.name))
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=text)], is_error=is_error
        )

    async def on_resources(ctx: Any, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[types.Resource(uri="note://1", name="note")])

    async def on_templates(ctx: Any, params: Any) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(uri_template="note://{id}", name="notes")
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def on_read(
        ctx: Any, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        text = types.TextResourceContents(uri=params.uri, text="noted")
        return types.ReadResourceResult(contents=[text])

    async def on_prompts(ctx: Any, params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[types.Prompt(name="greet")])

    async def on_prompt(ctx: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        who = (params.arguments or {}).get("who", "you")
        text = types.TextContent(type="text", text=f"Hello {who}")
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])

    async def on_completion(ctx: Any, params: types.CompleteRequestParams) -> types.CompleteResult:
        found = types.Completion(values=[f"{params.argument.value}-done"])
        return types.CompleteResult(completion=found)

    return Server(
        "world",
        version="1",
        on_list_tools=on_list,
        on_call_tool=on_call,
        on_list_resources=on_resources,
        on_list_resource_templates=on_templates,
        on_read_resource=on_read,
        on_list_prompts=on_prompts,
        on_get_prompt=on_prompt,
        on_completion=on_completion,
    )


def _question() -> types.InputRequiredResult:
    form = types.ElicitRequestFormParams(
        message="Which?", requested_schema={"type": "object", "properties": {}}
    )
    question = types.ElicitRequest(params=form)
    return types.InputRequiredResult(input_requests={"q": question}, request_state="kept")


class Faulty:
    """Stands before the server's own application."""

    def __init__(self, app: Asgi, world: HttpWorld) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        world = self._world
        body = await _body(receive)
        world.posts.append({k.decode(): v.decode() for k, v in scope["headers"]})
        fault = world.lasting
        if fault is None and b'"tools/call"' in body and world.faults:
            fault = world.faults.pop(0)
        if fault is None or fault.does_it_first:
            answer = _Answer(body)
            await self._app(scope, answer.receive, send if fault is None else answer.send)
        if fault is not None:
            await _spoil(fault, send)


class _Answer:
    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def receive(self) -> dict[str, Any]:
        if self._body is None:
            await anyio.sleep_forever()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        del message


async def _body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _spoil(fault: Fault, send: Any) -> None:
    headers = [(b"content-type", fault.content_type.encode())]
    headers += [(name.encode(), value.encode()) for name, value in fault.headers]
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": fault.body})


class _Prompt(uvicorn.Server):
    """Notices at once that it is to end."""

    async def main_loop(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110 - told by nobody
            await anyio.sleep(0.002)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for task in self.server_state.tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # type: ignore[union-attr]
        await self.lifespan.shutdown()


class Running:
    """A server that can be killed and started again at its port."""

    def __init__(self, world: HttpWorld, *, json_response: bool = True, stateless: bool = False):
        self.world = world
        self._json = json_response
        self._stateless = stateless
        self.with_auth: Callable[[int], dict[str, Any]] = lambda port: {}
        self._listening: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        # With its protocol named: asyncio sends small packets at once on such sockets alone.
        self._listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", self.world.port))
        self._listening.listen(100)
        self.world.port = self._listening.getsockname()[1]
        app = mcp_server(self.world).streamable_http_app(
            json_response=self._json,
            stateless_http=self._stateless,
            **self.with_auth(self.world.port),
        )
        config = uvicorn.Config(
            Faulty(app, self.world),  # type: ignore[arg-type]
            log_level="critical",
            lifespan="on",
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self._server = _Prompt(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listening]}, daemon=True
        )
        self._thread.start()
        until = time.monotonic() + STARTED_S
        while not self._server.started:
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.002)

    def kill(self) -> None:
        if self._server is None or self._thread is None or self._listening is None:
            return
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(STARTED_S)
        assert not self._thread.is_alive()
        self._listening.close()
        self._server = None


@contextlib.contextmanager
def http_world(
    *, json_response: bool = True, stateless: bool = False, **fields: Any
) -> Iterator[Running]:
    """Serve on a port of its own for as long as the context is open."""
    fields.setdefault("tools", [tool("echo"), tool("add"), tool("progress")])
    running = Running(HttpWorld(port=0, **fields), json_response=json_response, stateless=stateless)
    running.start()
    try:
        yield running
    finally:
        running.kill()
