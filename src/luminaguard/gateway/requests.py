"""Requests of clients as proposals: calls of tools, and what else carries data to a server."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

import mcp_types as types
from mcp.server.context import ServerRequestContext

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.gateway.asker import ClientAsker
from luminaguard.gateway.catalogue import Catalogue
from luminaguard.gateway.names import Place
from luminaguard.gateway.ports import OnProgress, Upstream
from luminaguard.gateway.proposal import Permit, Proposal
from luminaguard.policy.mcp.call import ToolDefinition

T = TypeVar("T")
MakeAsker = Callable[[bool], ClientAsker]

_READ_ONLY: Mapping[str, JsonValue] = {"readOnlyHint": True, "openWorldHint": False}
_PROTOCOL = {
    "read_resource": "Read a resource of the server.",
    "get_prompt": "Get a prompt of the server.",
    "list_completions": "List completions of an argument.",
    "list_resource_updates": "List updates of a resource.",
}
"""Our own words on what the protocol says these requests do: they read."""


def _new_id() -> str:
    return f"call-{secrets.token_hex(8)}"


def tool_call(
    catalogue: Catalogue,
    params: types.CallToolRequestParams,
    *,
    asker: MakeAsker,
    on_progress: OnProgress,
) -> Proposal[types.CallToolResult]:
    """Return the proposal that a call of an offered tool is.

    Raises:
        McpRefused: there is no such tool.
    """
    upstream, name = catalogue.tool(params.name)
    arguments = cast("Mapping[str, JsonValue]", params.arguments or {})

    async def send(permit: Permit) -> types.CallToolResult:
        async with upstream.answering(asker(permit.is_approved)):
            return await upstream.call(
                name,
                arguments,
                safe_to_retry=not permit.is_approved,
                on_progress=on_progress,
            )

    return Proposal(
        server=upstream.name,
        identity=upstream.identity,
        tool=name,
        call=ToolCall(
            call_id=_new_id(),
            tool=Place(server=upstream.name, name=name).whole,
            arguments=arguments,
        ),
        definition=lambda: catalogue.definition(upstream, name),
        refresh=upstream.refresh,
        send=send,
    )


def protocol_request(
    upstream: Upstream,
    kind: str,
    arguments: Mapping[str, JsonValue],
    send: Callable[[], Awaitable[T]],
    *,
    asker: MakeAsker,
) -> Proposal[T]:
    """Return the proposal that any other request with data of the client's is.

    `kind`: "read_resource", "get_prompt", "list_completions" or "list_resource_updates".
    """
    definition = ToolDefinition(name=kind, description=_PROTOCOL[kind], annotations=_READ_ONLY)

    async def nothing() -> None:
        return None

    async def sent(permit: Permit) -> T:
        async with upstream.answering(asker(permit.is_approved)):
            return await send()

    return Proposal(
        server=upstream.name,
        identity=upstream.identity,
        tool=kind,
        call=ToolCall(
            call_id=_new_id(),
            tool=Place(server=upstream.name, name=kind).whole,
            arguments=arguments,
        ),
        definition=lambda: definition,
        refresh=nothing,
        send=sent,
        is_pinned=False,
    )


def asker_for(context: ServerRequestContext[Any, Any]) -> MakeAsker:
    """Return what makes the asker of a request's client."""
    return lambda may_ask: ClientAsker(context, may_ask=may_ask)
