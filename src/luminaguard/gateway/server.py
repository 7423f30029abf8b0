"""The MCP server that clients talk to."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Never, TypeVar

import mcp_types as types
from anyio.abc import TaskGroup
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError

from luminaguard.domain.calls import JsonValue
from luminaguard.errors import LuminaGuardError, McpError, McpRefused
from luminaguard.gateway.catalogue import Catalogue
from luminaguard.gateway.handling import Gate
from luminaguard.gateway.names import OWN, SEPARATOR
from luminaguard.gateway.ports import GuardedTools, OnProgress, Upstream
from luminaguard.gateway.proposal import Proposal
from luminaguard.gateway.requests import asker_for, protocol_request, tool_call
from luminaguard.gateway.waiting import BEAT_S, Held
from luminaguard.gateway.wording import told

T = TypeVar("T")
Context = ServerRequestContext[Any, Any]
MAX_CLIENTS = 256
"""Clients that are told of changed lists; those that came first are forgotten beyond it."""
_HELD = "waiting for approval: luminaguard approvals"
INSTRUCTIONS = (
    "Every call is judged by LuminaGuard. Risky ones wait for a human, and end as approved, "
    "rejected, expired or failed; do not retry a rejected call in another form."
)


class _Announcing(Server[Any]):
    """A server that says at the start that its lists may change."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        options = notification_options or NotificationOptions(
            prompts_changed=True, resources_changed=True, tools_changed=True
        )
        return super().create_initialization_options(options, experimental_capabilities, extensions)


@dataclass(slots=True, kw_only=True)
class Front:
    """Answers clients: lists from the catalogue, everything else through the gate."""

    catalogue: Catalogue
    gate: Gate
    own: GuardedTools | None = None
    """The tools that run in a micro-VM; None where there is no workspace."""
    beat_s: float = BEAT_S
    version: str = ""
    _sessions: dict[int, ServerSession] = field(
        default_factory=dict[int, ServerSession], init=False
    )
    _watched: dict[str, set[int]] = field(default_factory=dict[str, set[int]], init=False)

    def server(self) -> Server[Any]:
        """Return the server, with the features that any server behind it has."""
        can = self.catalogue.can
        server = _Announcing(
            "luminaguard",
            version=self.version,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources if can("resources") else None,
            on_list_resource_templates=self._list_templates if can("resources") else None,
            on_read_resource=self._read if can("resources") else None,
            on_subscribe_resource=self._subscribe if can("resources") else None,
            on_unsubscribe_resource=self._unsubscribe if can("resources") else None,
            on_list_prompts=self._list_prompts if can("prompts") else None,
            on_get_prompt=self._prompt if can("prompts") else None,
            on_completion=self._complete if can("completions") else None,
        )
        if can("logging"):
            server.add_request_handler(
                "logging/setLevel", types.SetLevelRequestParams, self._set_level
            )
        return server

    def changed(self, server: str, what: str, tasks: TaskGroup) -> None:
        """Pass on that a server says that something of it has changed."""
        tasks.start_soon(self._pass_on, server, what)

    async def _pass_on(self, server: str, what: str) -> None:
        upstream = self.catalogue.upstreams.get(server)
        if what == "tools" and upstream is not None:
            with suppress(McpError):
                await upstream.refresh()
        for key, session in list(self._sessions.items()):
            if what.startswith("resource:") and key not in self._watched.get(what[9:], set()):
                continue
            try:
                await _notify(session, what)
            except Exception:  # noqa: BLE001 - a client that is gone needs no news
                self._sessions.pop(key, None)

    async def _list_tools(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        del params
        self._remember(context)
        own = [
            types.Tool(
                name=f"{OWN}{SEPARATOR}{spec.name}",
                description=spec.description,
                input_schema=dict(spec.parameters),
            )
            for spec in (self.own.specs if self.own else ())
        ]
        return types.ListToolsResult(tools=[*own, *self.catalogue.tools()])

    async def _call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        self._remember(context)
        held = Held(send=context.session.report_progress, beat_s=self.beat_s)
        async with _beats(held, context) as on_progress:
            own = _own_name(params.name)
            if own is not None and self.own is not None:
                try:
                    text, is_error = await self.own.call(own, params.arguments or {})
                except LuminaGuardError as error:
                    text, is_error = f"failed: {error}", True
                return _said(text, is_error=is_error)
            with _as_protocol_errors():
                proposal = tool_call(
                    self.catalogue, params, asker=asker_for(context), on_progress=on_progress
                )
                return await self._handled(proposal, lambda text: _said(text, is_error=True))

    async def _list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        del params
        self._remember(context)
        with _as_protocol_errors():
            return types.ListResourcesResult(resources=await self.catalogue.resources())

    async def _list_templates(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        del context, params
        with _as_protocol_errors():
            templates = await self.catalogue.templates()
            return types.ListResourceTemplatesResult(resource_templates=templates)

    async def _list_prompts(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        del params
        self._remember(context)
        with _as_protocol_errors():
            return types.ListPromptsResult(prompts=await self.catalogue.prompts())

    async def _read(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        with _as_protocol_errors():
            upstream = await self.catalogue.resource(uri)
            return await self._asked(
                context, upstream, "read_resource", {"uri": uri}, lambda: upstream.read(uri)
            )

    async def _prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        with _as_protocol_errors():
            upstream, name = self.catalogue.prompt(params.name)
            arguments = params.arguments or {}
            return await self._asked(
                context,
                upstream,
                "get_prompt",
                {"name": name, "arguments": dict(arguments)},
                lambda: upstream.prompt(name, arguments),
            )

    async def _complete(
        self, context: Context, params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        with _as_protocol_errors():
            ref = params.ref
            if isinstance(ref, types.PromptReference):
                upstream, name = self.catalogue.prompt(ref.name)
                ref = ref.model_copy(update={"name": name})
            else:
                upstream = await self.catalogue.resource(ref.uri)
            meant = params.model_copy(update={"ref": ref, "meta": None})
            shown = meant.model_dump(mode="json", by_alias=True, exclude_none=True)
            return await self._asked(
                context, upstream, "list_completions", shown, lambda: upstream.complete(meant)
            )

    async def _subscribe(
        self, context: Context, params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        uri = str(params.uri)
        self._watched.setdefault(uri, set()).add(self._remember(context))
        return await self._watch(context, uri, on=True)

    async def _unsubscribe(
        self, context: Context, params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        uri = str(params.uri)
        watching = self._watched.get(uri, set())
        watching.discard(self._remember(context))
        if watching:
            return types.EmptyResult()
        self._watched.pop(uri, None)
        return await self._watch(context, uri, on=False)

    async def _watch(self, context: Context, uri: str, *, on: bool) -> types.EmptyResult:
        with _as_protocol_errors():
            upstream = await self.catalogue.resource(uri)

            async def send() -> types.EmptyResult:
                await upstream.subscribe(uri, on=on)
                return types.EmptyResult()

            arguments: dict[str, JsonValue] = {"uri": uri}
            return await self._asked(context, upstream, "list_resource_updates", arguments, send)

    async def _set_level(
        self, context: Context, params: types.SetLevelRequestParams
    ) -> types.EmptyResult:
        del context
        with _as_protocol_errors():
            for upstream in self.catalogue.with_logging():
                await upstream.set_level(params.level)
        return types.EmptyResult()

    async def _asked(
        self,
        context: Context,
        upstream: Upstream,
        kind: str,
        arguments: dict[str, JsonValue],
        send: Callable[[], Awaitable[T]],
    ) -> T:
        held = Held(send=context.session.report_progress, beat_s=self.beat_s)
        async with _beats(held, context):
            proposal = protocol_request(upstream, kind, arguments, send, asker=asker_for(context))
            return await self._handled(proposal, _refuse)

    async def _handled(self, proposal: Proposal[T], otherwise: Callable[[str], T]) -> T:
        handled = await self.gate.handle(proposal)
        if handled.result is not None:
            return handled.result
        if handled.error is not None:
            raise handled.error
        return otherwise(told(handled.outcome))

    def _remember(self, context: Context) -> int:
        """Keep the client's connection, to tell it of changes; return its key."""
        connection = context.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - sessions are made anew for each request
        key = id(connection)
        self._sessions.pop(key, None)
        self._sessions[key] = context.session
        while len(self._sessions) > MAX_CLIENTS:
            self._sessions.pop(next(iter(self._sessions)))
        return key


def _own_name(offered: str) -> str | None:
    prefix = f"{OWN}{SEPARATOR}"
    return offered.removeprefix(prefix) if offered.startswith(prefix) else None


def _said(text: str, *, is_error: bool) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], is_error=is_error
    )


def _refuse(text: str) -> Never:
    raise MCPError(types.INVALID_REQUEST, text)


@contextmanager
def _as_protocol_errors() -> Generator[None]:
    """Give the client the server's own error; all others as ours."""
    try:
        yield
    except McpRefused as error:
        own = error.context.get("error")
        if isinstance(own, types.ErrorData):
            raise MCPError.from_error_data(own) from error
        raise MCPError(types.INTERNAL_ERROR, str(error)) from error
    except LuminaGuardError as error:
        raise MCPError(types.INTERNAL_ERROR, str(error)) from error


@asynccontextmanager
async def _beats(held: Held, context: Context) -> AsyncGenerator[OnProgress]:
    """Beat only where the client wants progress."""
    if (context.meta or {}).get("progress_token") is None:
        yield held.passed_on
        return
    async with held.beating(_HELD) as on_progress:
        yield on_progress


async def _notify(session: ServerSession, what: str) -> None:
    if what == "tools":
        await session.send_tool_list_changed()
    elif what == "prompts":
        await session.send_prompt_list_changed()
    elif what == "resources":
        await session.send_resource_list_changed()
    else:
        await session.send_resource_updated(what.removeprefix("resource:"))
