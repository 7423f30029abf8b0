"""A connection to one server, by the official SDK's client."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import mcp_types as types
from mcp.client._transport import Transport
from mcp.client.client import Client
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.client.stdio import StdioServerParameters
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

from luminaguard.domain.calls import JsonValue
from luminaguard.errors import (
    McpAnswerBroken,
    McpError,
    McpRefused,
    McpTimedOut,
    McpUnreachable,
    OutcomeUnknown,
)
from luminaguard.gateway.ports import Asker, OnProgress

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A result beyond it is not passed on."""
MAX_PAGES = 100
MAX_LISTED = 10_000
"""Tools, resources or prompts of one server; a listing that goes on is cut off with an error."""
_LIST_S = 30.0
_CLOSE_S = 10.0
_LOST_CODES = frozenset((types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT))

R = TypeVar("R", bound=types.Result)
P = TypeVar("P", bound=types.PaginatedResult)


class SdkUpstream:
    """One server, as the gateway sees it; use `connected`."""

    def __init__(
        self, name: str, identity: str, *, call_s: float, on_changed: Callable[[str], None]
    ) -> None:
        self.name = name
        self.identity = identity
        self.tools: Mapping[str, types.Tool] = {}
        self._call_s = call_s
        self._on_changed = on_changed
        self._askers: list[Asker] = []
        self.client: Client | None = None
        """Set while connected."""

    @property
    def capabilities(self) -> types.ServerCapabilities:
        """What it says it can do."""
        return self._connected.server_capabilities

    @property
    def instructions(self) -> str:
        """How it wants to be used; foreign text."""
        return self._connected.instructions or ""

    async def refresh(self) -> None:
        """Ask for its tools anew.

        Raises:
            McpError: they cannot be had, or the listing breaks the rules; none are known then.
        """
        self.tools = {}
        if self.capabilities.tools is None:
            return
        found: dict[str, types.Tool] = {}
        for page in await self._pages(
            lambda cursor: self._connected.list_tools(cursor=cursor, cache_mode="bypass")
        ):
            for tool in page.tools:
                if tool.name in found:
                    raise McpAnswerBroken(f"{self.name} lists a tool twice: {tool.name!r}")
                found[tool.name] = tool
        self.tools = found

    async def call(
        self,
        name: str,
        arguments: Mapping[str, JsonValue],
        *,
        safe_to_retry: bool,
        on_progress: OnProgress,
    ) -> types.CallToolResult:
        """Call a tool, once.

        Raises:
            McpError: see the port.
        """
        del safe_to_retry  # nothing is ever sent twice here
        return await self._asked(
            lambda: self._connected.call_tool(
                name,
                dict(arguments),
                read_timeout_seconds=self._call_s,
                progress_callback=on_progress,
            )
        )

    async def resources(self) -> Sequence[types.Resource]:
        """Return all resources."""
        pages = await self._pages(
            lambda cursor: self._connected.list_resources(cursor=cursor, cache_mode="bypass")
        )
        return [item for page in pages for item in page.resources]

    async def templates(self) -> Sequence[types.ResourceTemplate]:
        """Return all templates of resources."""
        pages = await self._pages(
            lambda cursor: self._connected.list_resource_templates(
                cursor=cursor, cache_mode="bypass"
            )
        )
        return [item for page in pages for item in page.resource_templates]

    async def prompts(self) -> Sequence[types.Prompt]:
        """Return all prompts."""
        pages = await self._pages(
            lambda cursor: self._connected.list_prompts(cursor=cursor, cache_mode="bypass")
        )
        return [item for page in pages for item in page.prompts]

    async def read(self, uri: str) -> types.ReadResourceResult:
        """Read a resource."""
        return await self._asked(lambda: self._connected.read_resource(uri, cache_mode="bypass"))

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> types.GetPromptResult:
        """Fill a prompt in."""
        return await self._asked(lambda: self._connected.get_prompt(name, dict(arguments)))

    async def complete(self, params: types.CompleteRequestParams) -> types.CompleteResult:
        """Propose how an argument goes on."""
        context = params.context.arguments if params.context else None
        return await self._asked(
            lambda: self._connected.complete(
                params.ref,
                {"name": params.argument.name, "value": params.argument.value},
                context,
            )
        )

    async def subscribe(self, uri: str, *, on: bool) -> None:
        """Begin or end to be told when a resource changes."""
        session = self._connected.session
        await self._asked(
            lambda: session.send_request(
                types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri))
                if on
                else types.UnsubscribeRequest(params=types.UnsubscribeRequestParams(uri=uri)),
                types.EmptyResult,
            )
        )

    async def set_level(self, level: types.LoggingLevel) -> None:
        """Say how much it should log."""
        session = self._connected.session
        request = types.SetLevelRequest(params=types.SetLevelRequestParams(level=level))
        await self._asked(lambda: session.send_request(request, types.EmptyResult))

    @asynccontextmanager
    async def answering(self, asker: Asker) -> AsyncGenerator[None]:
        """Let the server turn to the client of this call while the body runs."""
        self._askers.append(asker)
        try:
            yield
        finally:
            self._askers.remove(asker)

    @property
    def _connected(self) -> Client:
        if self.client is None:
            raise McpUnreachable(f"{self.name} is not connected")
        return self.client

    async def _pages(self, get: Callable[[str | None], Awaitable[P]]) -> list[P]:
        pages: list[P] = []
        cursor: str | None = None
        seen: set[str] = set()
        with anyio.move_on_after(_LIST_S):
            while len(pages) < MAX_PAGES:
                page = await self._asked(lambda at=cursor: get(at))
                pages.append(page)
                cursor = page.next_cursor
                if not cursor:
                    return pages
                if cursor in seen:
                    break
                seen.add(cursor)
            raise McpAnswerBroken(f"{self.name}: its listing does not end")
        raise McpTimedOut(f"{self.name} did not list what it has within {_LIST_S:g} s")

    async def _asked(self, send: Callable[[], Awaitable[R]]) -> R:
        try:
            result = await send()
        except MCPError as error:
            if error.error.code in _LOST_CODES:
                raise OutcomeUnknown(f"{self.name}: {error}") from error
            refused = McpRefused(f"{self.name}: {error}")
            refused.context["error"] = error.error
            raise refused from error
        except McpError:
            raise
        except Exception as error:
            raise OutcomeUnknown(f"{self.name}: {type(error).__name__}: {error}") from error
        size = len(json.dumps(result.model_dump(mode="json", by_alias=True, exclude_none=True)))
        if size > MAX_ANSWER_BYTES:
            raise McpAnswerBroken(
                f"{self.name} answered with {size:,} bytes, more than {MAX_ANSWER_BYTES:,}"
            )
        return result

    @property
    def _asker(self) -> Asker | None:
        """The client to turn to: only where there is no doubt whose call it is about."""
        return self._askers[0] if len(self._askers) == 1 else None

    async def on_elicit(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        """Pass a question of the server on to the client."""
        del context
        asker = self._asker
        if asker is None:
            return _declined()
        try:
            return await asker.elicit(params)
        except MCPError as error:
            return error.error

    async def on_sample(
        self, context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.ErrorData:
        """Pass a question of the server on to the client's model."""
        del context
        asker = self._asker
        if asker is None:
            return _declined()
        try:
            return await asker.sample(params)
        except MCPError as error:
            return error.error

    async def on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        """Pass on what the server logs."""
        asker = self._asker
        if asker is not None:
            await asker.log(params)

    async def on_hear(self, message: IncomingMessage) -> None:
        """Hear what the server says unasked."""
        if isinstance(message, types.ToolListChangedNotification):
            self._on_changed("tools")
        elif isinstance(message, types.ResourceListChangedNotification):
            self._on_changed("resources")
        elif isinstance(message, types.PromptListChangedNotification):
            self._on_changed("prompts")
        elif isinstance(message, types.ResourceUpdatedNotification):
            self._on_changed(f"resource:{message.params.uri}")


def _declined() -> types.ErrorData:
    return types.ErrorData(
        code=types.INVALID_REQUEST,
        message="no client can be asked: questions are passed on only during one approved call",
    )


@asynccontextmanager
async def connected(
    transport: Transport | StdioServerParameters | str | Server[Any],
    *,
    name: str,
    identity: str,
    connect_s: float = 30.0,
    call_s: float = 600.0,
    mode: str = "legacy",
    on_changed: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[SdkUpstream]:
    """Connect to a server while the body runs.

    Args:
        transport: What the SDK's client connects to: an address, a command, or a transport.
        name: As the user configured it.
        identity: Where it comes from.
        connect_s: Seconds until connecting has failed.
        call_s: Seconds until a call has failed.
        mode: "legacy" shakes hands, up to revision 2025-11-25, in which servers may turn to
            clients while a call runs; "auto" asks for the newest first.
        on_changed: Told what the server says has changed: "tools", "resources", "prompts", or
            "resource:" and an address.

    Raises:
        McpUnreachable: no connection came about.
    """
    upstream = SdkUpstream(name, identity, call_s=call_s, on_changed=on_changed)
    client = Client(
        transport,
        sampling_callback=upstream.on_sample,
        elicitation_callback=upstream.on_elicit,
        logging_callback=upstream.on_log,
        log_level="debug",
        message_handler=upstream.on_hear,
        read_timeout_seconds=call_s,
        cache=None,
        mode=mode,
    )
    async with anyio.create_task_group() as tasks:
        life = _Life(client)
        tasks.start_soon(life.run)
        with anyio.move_on_after(connect_s) as limit:
            await life.ready.wait()
        if limit.cancelled_caught or life.error is not None:
            tasks.cancel_scope.cancel()
            why = life.error or TimeoutError(f"no answer within {connect_s:g} s")
            raise McpUnreachable(
                f"{name} cannot be reached: {type(why).__name__}: {why}",
                hint="try the server by itself, and look at what it prints",
            ) from life.error
        upstream.client = client
        try:
            await upstream.refresh()
            yield upstream
        finally:
            upstream.client = None
            life.over.set()
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_S):
                await life.ended.wait()
            tasks.cancel_scope.cancel()


class _Life:
    """Enters and leaves a client in one task, as its scopes need."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.ready, self.over, self.ended = anyio.Event(), anyio.Event(), anyio.Event()
        self.error: Exception | None = None

    async def run(self) -> None:
        """Connect, and stay until told to end."""
        try:
            async with self._client:
                self.ready.set()
                await self.over.wait()
        except Exception as error:  # noqa: BLE001 - told to whoever waits; calls fail by themselves
            self.error = error
        finally:
            self.ready.set()
            self.ended.set()
