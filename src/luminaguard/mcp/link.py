"""A session with one endpoint: how it comes up, stays, hears of changes, and ends."""

import math
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

import anyio
import mcp_types as types
from anyio.abc import TaskStatus
from mcp.client.client import Client
from mcp.client.session import ElicitationFnT, ListRootsFnT, SamplingFnT
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from luminaguard.errors import McpConnectionLost, McpError, McpSessionLost, McpTimedOut
from luminaguard.mcp.exchange import CURRENT, Exchange
from luminaguard.mcp.failures import failure
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.secret import Secret, shown
from luminaguard.mcp.transports.ports import OpenTransport


class Listed(StrEnum):
    """A listing that a server may say has changed."""

    TOOLS = "tools"
    RESOURCES = "resources"
    PROMPTS = "prompts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What a server may ask of its client; without one, it is told that it cannot."""

    elicit: ElicitationFnT | None = None
    sample: SamplingFnT | None = None
    roots: ListRootsFnT | None = None
    on_changed: Callable[[Listed], None] = lambda _: None
    on_notification: Callable[[types.ServerNotification], Awaitable[None]] | None = None
    """Hears everything that the server says unasked."""


@dataclass(slots=True, kw_only=True, eq=False)
class Link:
    """One session with a server. `run` keeps it up; requests come from any task meanwhile."""

    name: str
    """Of the server, for errors."""
    open_transport: OpenTransport
    limits: Limits
    callbacks: Callbacks = field(default_factory=Callbacks)
    secrets: tuple[Secret, ...] = ()
    mode: str = "auto"
    """Which revision is spoken: "auto" asks for the newest, and falls back to the handshake."""
    beside: Callable[[], str] = lambda: ""
    """What the server's process said beside the protocol; foreign text."""
    failure: McpError | None = field(default=None, init=False)
    """Why it is over."""
    _in_use: int = field(default=0, init=False)
    _leaving: bool = field(default=False, init=False)
    _client: Client | None = field(default=None, init=False)
    _closing: anyio.Event = field(default_factory=anyio.Event, init=False)
    _over: anyio.Event = field(default_factory=anyio.Event, init=False)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope, init=False)

    @property
    def is_up(self) -> bool:
        """Whether requests can be sent."""
        ends = self.failure is not None or self._over.is_set() or self._closing.is_set()
        return self._client is not None and not ends

    @property
    def capabilities(self) -> types.ServerCapabilities:
        """What the server says it can do."""
        return self.client.server_capabilities

    @property
    def server_info(self) -> types.Implementation | None:
        """Who the server says it is; foreign text."""
        return self.client.server_info

    @property
    def instructions(self) -> str | None:
        """How the server wants to be used; foreign text."""
        return self.client.instructions

    @property
    def revision(self) -> str:
        """The protocol's revision that both agreed on: "2026-07-28", "2025-11-25", ..."""
        return self.client.protocol_version

    def broke(self, error: McpError) -> None:
        """End the connection at once; transports call it when a server breaks the rules."""
        if self.failure is None:
            error.args = (f"{self.name}: {error}",)
            self.failure = error
        self._scope.cancel()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect, say so, and stay until `close` or until the connection is over.

        Raises:
            McpError: no connection came about. One that ends later is told of in `failure`.
        """
        exchange = Exchange()
        started = False
        try:
            CURRENT.set(exchange)
            self._scope.deadline = anyio.current_time() + self.limits.connect_s
            with self._scope:
                async with self._new_client() as client:
                    self._client = client
                    self._scope.deadline = math.inf
                    CURRENT.set(None)
                    task_status.started()
                    started = True
                    await self._stay(client)
        except Exception as error:  # noqa: BLE001 - every failure becomes one of ours
            self.failure = self.failure or failure(error, exchange, self.name, self.secrets)
        finally:
            self._over.set()
        if self._scope.cancelled_caught and self.failure is None:
            self.failure = McpTimedOut(
                f"{self.name}: no connection within {self.limits.connect_s:g} s"
            )
        if not started:
            raise self._unsuccessful()

    def leave(self) -> None:
        """End the connection as soon as what was asked on it has ended."""
        self._leaving = True
        if self._in_use == 0:
            self._closing.set()

    @contextmanager
    def in_use(self) -> Generator[None]:
        """Keep the connection up for a request.

        Raises:
            McpSessionLost: it is not up.
        """
        _ = self.client
        self._in_use += 1
        try:
            yield
        finally:
            self._in_use -= 1
            if self._leaving and self._in_use == 0:
                self._closing.set()

    async def close(self) -> None:
        """End the connection, and wait for it to be over, but not for long."""
        self._closing.set()
        with anyio.move_on_after(self.limits.close_s, shield=True):
            await self._over.wait()
        self._scope.cancel()

    def _unsuccessful(self) -> McpError:
        error = self.failure or McpConnectionLost(f"{self.name}: closed while it connected")
        words = self.beside().strip().splitlines()
        if words and error.hint is None:
            error.hint = f"it said: {shown(words[-1], self.secrets)}"
        return error

    def _new_client(self) -> Client:
        return Client(
            self.open_transport(),
            mode=self.mode,
            cache=None,  # what is pinned and judged is what the server says now
            client_info=types.Implementation(name="luminaguard", version="0.1.0"),
            message_handler=self._hear,
            elicitation_callback=self.callbacks.elicit,
            sampling_callback=self.callbacks.sample,
            list_roots_callback=self.callbacks.roots,
        )

    async def _stay(self, client: Client) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, client)
            await self._closing.wait()
            tasks.cancel_scope.cancel()

    async def _listen(self, client: Client) -> None:
        """Subscribe to changes, where the revision wants that asked for."""
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return
        can = client.server_capabilities
        tools = bool(can.tools and can.tools.list_changed)
        prompts = bool(can.prompts and can.prompts.list_changed)
        resources = bool(can.resources and can.resources.list_changed)
        if not (tools or prompts or resources):
            return
        CURRENT.set(Exchange(heard=True))
        with suppress(MCPError, RuntimeError):  # lost: changes are then seen at the next look
            async with client.listen(
                tools_list_changed=tools,
                prompts_list_changed=prompts,
                resources_list_changed=resources,
            ) as subscription:
                async for _ in subscription:
                    pass  # the notification itself comes to `_hear` as well

    async def _hear(self, message: types.ServerNotification | Exception) -> None:
        match message:
            case types.ToolListChangedNotification():
                self.callbacks.on_changed(Listed.TOOLS)
            case types.ResourceListChangedNotification():
                self.callbacks.on_changed(Listed.RESOURCES)
            case types.PromptListChangedNotification():
                self.callbacks.on_changed(Listed.PROMPTS)
            case _:
                pass
        if self.callbacks.on_notification and not isinstance(message, Exception):
            await self.callbacks.on_notification(message)

    @property
    def client(self) -> Client:
        """The SDK's client.

        Raises:
            McpSessionLost: the session is not up.
        """
        if self._client is None or not self.is_up:
            raise self._not_up()
        return self._client

    def _not_up(self) -> McpError:
        why = f": {self.failure}" if self.failure else ""
        return McpSessionLost(f"{self.name}: not connected{why}")
