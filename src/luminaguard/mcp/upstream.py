"""A server as its users see it: one thing that answers, however many endpoints it has.

Each request goes to an endpoint that can take it; one that fails is sent again, elsewhere or later,
if that is safe. Endpoints whose tools differ from the pinned ones are not used.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import mcp_types as types
from anyio.abc import TaskGroup

from luminaguard.errors import McpError
from luminaguard.mcp.balance.breaker import BreakerSettings
from luminaguard.mcp.balance.metrics import EndpointMetrics
from luminaguard.mcp.connection import CallAnswer, Connection, OnProgress
from luminaguard.mcp.crew import Crew
from luminaguard.mcp.link import Callbacks, Listed
from luminaguard.mcp.pins import Pins
from luminaguard.mcp.questions import Resume
from luminaguard.mcp.retry import Backoff, asked_s, final, may_repeat
from luminaguard.mcp.servers import Endpoint, Server
from luminaguard.mcp.transports.dial import Dial, HostDial

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a server says of itself; foreign text."""

    capabilities: types.ServerCapabilities
    info: types.Implementation | None
    instructions: str | None
    revision: str


class Upstream:
    """One server, for as long as the context is open. Requests come from any task.

    Args:
        server: As configured.
        callbacks: What the server may ask of its client.
        pins: Tools as they were judged; None: as the first endpoint has them.
        dial: Opens ways to endpoints; the default one leaves micro-VMs out.
        settings: When an endpoint is left alone, and for how long.
        backoff: How long is waited before a request is sent again.
        mode: Which revision is spoken; "auto" for the newest that both know.
        jitter: Evenly distributed in [0, 1).
    """

    def __init__(
        self,
        server: Server,
        *,
        callbacks: Callbacks | None = None,
        pins: Pins | None = None,
        dial: Dial | None = None,
        settings: BreakerSettings | None = None,
        backoff: Backoff | None = None,
        mode: str = "auto",
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.server = server
        self._backoff = backoff or Backoff()
        self._jitter = jitter
        self._crew = Crew(
            server=server,
            callbacks=callbacks or Callbacks(),
            dial=dial or HostDial(),
            mode=mode,
            pins=pins,
            settings=settings or BreakerSettings(),
        )
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._crew.tasks = self._tasks
        self._tasks.start_soon(self._crew.watch)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._tasks is None:
            return None
        await self._crew.close()
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(kind, error, trace)

    @property
    def pins(self) -> Pins | None:
        """The tools that endpoints must have; None as long as nobody said."""
        return self._crew.pins

    def accept(self, pins: Pins) -> None:
        """Pin other tools: endpoints that have them are used again, after a look at them."""
        self._crew.accept(pins)

    def add(self, endpoint: Endpoint) -> None:
        """Use a further endpoint from now on."""
        self._crew.add(endpoint)

    def remove(self, url: str) -> None:
        """Use an endpoint no more; what it is asked already, it may still answer."""
        self._crew.remove(url)

    def metrics(self) -> tuple[EndpointMetrics, ...]:
        """Return how each endpoint does."""
        return self._crew.balancer.metrics()

    async def changed(self) -> Listed:
        """Wait until a server says that a listing changed, and return which."""
        return await self._crew.changed()

    async def about(self) -> About:
        """Return what the server says of itself."""

        async def ask(connection: Connection) -> About:
            link = connection.link
            return About(
                capabilities=link.capabilities,
                info=link.server_info,
                instructions=link.instructions,
                revision=link.revision,
            )

        return await self._request(ask, "the question who it is")

    async def tools(self) -> list[types.Tool]:
        """Return the tools, as they are now and as they are pinned.

        Raises:
            McpToolsChanged: no endpoint has the tools that are pinned.
        """
        return await self._request(lambda at: at.list_tools(), "tools/list", sees_tools=True)

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        safe_to_retry: bool,
        on_progress: OnProgress | None = None,
        session: str = "",
        resume: Resume | None = None,
        passes_questions: bool = False,
        meta: types.RequestParamsMeta | None = None,
    ) -> CallAnswer:
        """Call a tool. An answer that says `is_error` is an answer.

        Args:
            name: The server's own name of the tool.
            arguments: As JSON.
            safe_to_retry: Whether doing it twice is the same as doing it once: the policy's
                judgment, never the server's claim.
            on_progress: Told of progress.
            session: Whose call it is: stays at one endpoint as long as that answers.
            resume: Answers to what the server asked before.
            passes_questions: Questions are returned instead of put to the callbacks.
            meta: Sent along.

        Raises:
            OutcomeUnknown: it was sent, may have been done, and must not be repeated blindly.
            McpError: it was not done, or is safe to repeat and did not succeed.
        """
        return await self._request(
            lambda at: at.call(
                name,
                arguments,
                on_progress=on_progress,
                resume=resume,
                passes_questions=passes_questions,
                meta=meta,
            ),
            f"the call of {name!r}",
            safe_to_retry=safe_to_retry,
            session=session,
        )

    async def resources(self) -> list[types.Resource]:
        """Return the resources."""
        return await self._request(lambda at: at.list_resources(), "resources/list")

    async def resource_templates(self) -> list[types.ResourceTemplate]:
        """Return the templates of resources' addresses."""
        return await self._request(lambda at: at.list_resource_templates(), "resources/templates")

    async def read(self, uri: str, *, session: str = "") -> types.ReadResourceResult:
        """Return a resource's content."""
        return await self._request(lambda at: at.read(uri), "resources/read", session=session)

    async def prompts(self) -> list[types.Prompt]:
        """Return the prompts."""
        return await self._request(lambda at: at.list_prompts(), "prompts/list")

    async def prompt(
        self, name: str, arguments: Mapping[str, str] | None = None, *, session: str = ""
    ) -> types.GetPromptResult:
        """Return a prompt, filled in."""
        return await self._request(
            lambda at: at.prompt(name, arguments), "prompts/get", session=session
        )

    async def complete(
        self,
        of: types.PromptReference | types.ResourceTemplateReference,
        argument: Mapping[str, str],
        context: Mapping[str, str] | None = None,
    ) -> types.CompleteResult:
        """Return how an argument could go on."""
        return await self._request(
            lambda at: at.complete(of, argument, context), "completion/complete"
        )

    async def _request(
        self,
        send: Callable[[Connection], Awaitable[_Result]],
        what: str,
        *,
        safe_to_retry: bool = True,
        session: str = "",
        sees_tools: bool = False,
    ) -> _Result:
        """Send a request until it is answered, or must not or need not be sent again."""
        failed_at: list[str] = []
        last: McpError | None = None
        attempt = 0
        while True:
            attempt += 1
            try:
                trial = await self._crew.trial(session, avoid=failed_at, is_probe=safe_to_retry)
            except McpError as nobody:
                raise (last or nobody) from nobody
            try:
                return await trial.run(send, sees_tools=sees_tools)
            except McpError as error:
                again = not trial.sent or may_repeat(error, safe_to_retry=safe_to_retry)
                told = final(error, what, safe_to_retry=safe_to_retry or not trial.sent)
                if not again or not trial.may_help or attempt >= self._crew.most_attempts:
                    raise told from error
                last = told
                failed_at.append(trial.url)
                wait_s = self._wait_s(error, attempt, failed_at)
                if wait_s is None:
                    raise told from error
                self._crew.again(trial)
            await anyio.sleep(wait_s)

    def _wait_s(self, error: McpError, attempt: int, failed_at: list[str]) -> float | None:
        """Return how long to wait: not at all while there are endpoints that did not fail yet."""
        if self._crew.has_other(failed_at):
            return 0.0
        failed_at.clear()
        return self._backoff.wait_s(attempt, asked_s(error), self._jitter())
