"""One connection to one endpoint of a server: every wait and every answer bounded, errors typed.

What servers answer is handed on as the SDK's own values (`mcp_types`), unchanged. Structured
answers are not checked against the tool's output schema here: a hostile schema could hold a pattern
that takes forever.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import anyio
import mcp_types as types
from mcp.client import ClientSession
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, TypeAdapter

from luminaguard.errors import (
    McpAnswerBroken,
    McpConnectionLost,
    McpError,
    McpTimedOut,
    McpUnreachable,
)
from luminaguard.mcp.exchange import CURRENT, Exchange
from luminaguard.mcp.failures import failure
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.link import Link
from luminaguard.mcp.questions import Resume, with_answers

_Result = TypeVar("_Result")
_Answer = TypeVar("_Answer", bound=BaseModel)

OnProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Progress, of a total if it is known, and words about it (foreign text)."""
CallAnswer = types.CallToolResult | types.InputRequiredResult
_CALL: TypeAdapter[CallAnswer] = TypeAdapter(CallAnswer)
_MOST_CURSOR_CHARS = 65_536


class _Page(Protocol):
    @property
    def next_cursor(self) -> str | None: ...


_AnyPage = TypeVar("_AnyPage", bound=_Page)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Requests over one link; each is sent once, and its wait and its answer are bounded."""

    link: Link

    @property
    def _limits(self) -> Limits:
        return self.link.limits

    @property
    def _name(self) -> str:
        return self.link.name

    async def list_tools(self) -> list[types.Tool]:
        """Return all tools."""
        if self.link.capabilities.tools is None:
            return []
        return await self._pages(lambda session, at: session.list_tools(params=at), _tools)

    async def list_resources(self) -> list[types.Resource]:
        """Return all resources."""
        if self.link.capabilities.resources is None:
            return []
        return await self._pages(lambda session, at: session.list_resources(params=at), _resources)

    async def list_resource_templates(self) -> list[types.ResourceTemplate]:
        """Return all templates of resources' addresses."""
        if self.link.capabilities.resources is None:
            return []
        return await self._pages(
            lambda session, at: session.list_resource_templates(params=at), _templates
        )

    async def list_prompts(self) -> list[types.Prompt]:
        """Return all prompts."""
        if self.link.capabilities.prompts is None:
            return []
        return await self._pages(lambda session, at: session.list_prompts(params=at), _prompts)

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        on_progress: OnProgress | None = None,
        resume: Resume | None = None,
        passes_questions: bool = False,
        meta: types.RequestParamsMeta | None = None,
    ) -> CallAnswer:
        """Call a tool, once. An answer that says `is_error` is an answer.

        Args:
            name: The server's own name of the tool.
            arguments: As JSON.
            on_progress: Told of progress, which also ends the allowed silence.
            resume: Answers to what the server asked before.
            passes_questions: Questions are returned instead of put to the callbacks.
            meta: Sent along.

        Raises:
            McpError: there is no answer; `retry` of it says what is known of the call.
        """
        exchange = Exchange()
        session = self.link.client.session

        async def ask(resumed: Resume) -> CallAnswer:
            request = types.CallToolRequest(
                params=types.CallToolRequestParams(
                    name=name,
                    arguments=dict(arguments) if arguments is not None else None,
                    input_responses=resumed.responses,
                    request_state=resumed.state,
                    _meta=meta,
                )
            )

            async def progressed(progress: float, total: float | None, message: str | None) -> None:
                self._heard_of(exchange)
                if on_progress is not None:
                    await on_progress(progress, total, message)

            return await session.send_request(request, _CALL, progress_callback=progressed)

        async def call() -> CallAnswer:
            first = await self._with_headers(ask, resume or Resume())
            exchange.begun = True
            if passes_questions:
                return first
            return await with_answers(first, ask, session, self._limits.questions)

        return await self._within(call, self._limits.call_s, exchange, self._limits.idle_s)

    async def read(self, uri: str) -> types.ReadResourceResult:
        """Return a resource's content."""
        return await self._simple(lambda client: client.read_resource(uri))

    async def prompt(
        self, name: str, arguments: Mapping[str, str] | None = None
    ) -> types.GetPromptResult:
        """Return a prompt, filled in."""
        filled = dict(arguments) if arguments is not None else None
        return await self._simple(lambda client: client.get_prompt(name, filled))

    async def complete(
        self,
        of: types.PromptReference | types.ResourceTemplateReference,
        argument: Mapping[str, str],
        context: Mapping[str, str] | None = None,
    ) -> types.CompleteResult:
        """Return how an argument could go on: `argument` is {"name": ..., "value": ...}."""
        known = dict(context) if context is not None else None
        return await self._simple(lambda client: client.complete(of, dict(argument), known))

    async def _with_headers(
        self, ask: Callable[[Resume], Awaitable[CallAnswer]], resume: Resume
    ) -> CallAnswer:
        """Send a call; again if it was turned away because its headers need the tool's schema.

        Source: MCP 2026-07-28, basic/transports, "Custom Headers from Tool Parameters".
        """
        try:
            return await ask(resume)
        except MCPError as error:
            if error.code != types.HEADER_MISMATCH:
                raise
        await self.list_tools()
        return await ask(resume)

    async def _simple(self, send: Callable[[Client], Awaitable[_Answer]]) -> _Answer:
        exchange = Exchange()
        return await self._within(
            lambda: send(self.link.client),
            self._limits.call_s,
            exchange,
            self._limits.idle_s,
        )

    async def _pages(
        self,
        fetch: Callable[[ClientSession, types.PaginatedRequestParams], Awaitable[_AnyPage]],
        entries: Callable[[_AnyPage], list[_Result]],
    ) -> list[_Result]:
        """Walk through all pages of a listing, within its deadline and caps."""

        async def walk() -> list[_Result]:
            found: list[_Result] = []
            cursors: set[str] = set()
            at: str | None = None
            for _ in range(self._limits.pages):
                page = await fetch(
                    self.link.client.session, types.PaginatedRequestParams(cursor=at)
                )
                found += entries(page)
                if len(found) > self._limits.items:
                    raise McpAnswerBroken(f"{self._name}: lists more than {self._limits.items}")
                at = page.next_cursor
                if at is None:
                    return found
                if at in cursors or len(at) > _MOST_CURSOR_CHARS:
                    raise McpAnswerBroken(f"{self._name}: its listing goes round in circles")
                cursors.add(at)
            raise McpAnswerBroken(f"{self._name}: lists more than {self._limits.pages} pages")

        return await self._within(walk, self._limits.list_s, Exchange(), self._limits.list_s)

    async def _within(
        self,
        send: Callable[[], Awaitable[_Result]],
        whole_s: float,
        exchange: Exchange,
        idle_s: float,
    ) -> _Result:
        """Send, and wait for the answer: so long as a whole, and so long in silence."""
        exchange.deadline = anyio.current_time() + whole_s
        exchange.scope = anyio.CancelScope()
        token = CURRENT.set(exchange)
        try:
            with self.link.in_use(), exchange.scope:
                self._heard_of(exchange, idle_s)
                return await send()
        except Exception as error:
            raise self._explained(error, exchange) from error
        finally:
            CURRENT.reset(token)
            exchange.failure = exchange.failure or McpTimedOut(f"{self._name}: no answer in time")
        raise self.link.failure or exchange.failure

    def _explained(self, error: Exception, exchange: Exchange) -> McpError:
        found = failure(error, exchange, self._name, self.link.secrets)
        if exchange.begun and isinstance(found, McpUnreachable):
            return McpConnectionLost(str(found))
        if isinstance(found, McpConnectionLost) and self.link.failure is not None:
            return self.link.failure
        return found

    def _heard_of(self, exchange: Exchange, idle_s: float | None = None) -> None:
        if exchange.scope is not None:
            silent_until = anyio.current_time() + (idle_s or self._limits.idle_s)
            exchange.scope.deadline = min(exchange.deadline, silent_until)


def _tools(page: types.ListToolsResult) -> list[types.Tool]:
    return page.tools


def _resources(page: types.ListResourcesResult) -> list[types.Resource]:
    return page.resources


def _templates(page: types.ListResourceTemplatesResult) -> list[types.ResourceTemplate]:
    return page.resource_templates


def _prompts(page: types.ListPromptsResult) -> list[types.Prompt]:
    return page.prompts
