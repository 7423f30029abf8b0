"""What the gateway needs of a server behind it, and of the guarded tools beside it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import mcp_types as types

from luminaguard.domain.calls import JsonValue, ToolSpec


class OnProgress(Protocol):
    """Told of progress."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Hear how far, of how much, in words of the server."""
        ...


class Upstream(Protocol):
    """A connection to one server, used by many calls at once. All it hands out is foreign text.

    Every method raises `McpError`: `OutcomeUnknown` where the request may have had its effect
    without an answer, `McpRefused` where the server answered with an error of the protocol, and
    any other only where the request had no effect.
    """

    @property
    def name(self) -> str:
        """As the user configured it."""
        ...

    @property
    def identity(self) -> str:
        """Where it comes from: command line or address, as trust and approvals name it."""
        ...

    @property
    def capabilities(self) -> types.ServerCapabilities:
        """What it says it can do."""
        ...

    @property
    def tools(self) -> Mapping[str, types.Tool]:
        """Its tools as last heard, by name."""
        ...

    async def refresh(self) -> None:
        """Ask for its tools anew."""
        ...

    async def call(
        self,
        name: str,
        arguments: Mapping[str, JsonValue],
        *,
        safe_to_retry: bool,
        on_progress: OnProgress,
    ) -> types.CallToolResult:
        """Call a tool; sent more than once only if that is safe."""
        ...

    async def resources(self) -> Sequence[types.Resource]:
        """Return all resources."""
        ...

    async def templates(self) -> Sequence[types.ResourceTemplate]:
        """Return all templates of resources."""
        ...

    async def prompts(self) -> Sequence[types.Prompt]:
        """Return all prompts."""
        ...

    async def read(self, uri: str) -> types.ReadResourceResult:
        """Read a resource."""
        ...

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> types.GetPromptResult:
        """Fill a prompt in."""
        ...

    async def complete(self, params: types.CompleteRequestParams) -> types.CompleteResult:
        """Propose how an argument goes on."""
        ...

    async def subscribe(self, uri: str, *, on: bool) -> None:
        """Begin or end to be told when a resource changes."""
        ...

    async def set_level(self, level: types.LoggingLevel) -> None:
        """Say how much it should log."""
        ...

    def answering(self, asker: "Asker") -> AbstractAsyncContextManager[None]:
        """Let the server turn to the client of a call while the body runs."""
        ...


class Asker(Protocol):
    """The client whose call is in progress, as a server may turn to it meanwhile."""

    async def elicit(self, params: types.ElicitRequestParams) -> types.ElicitResult:
        """Ask its user."""
        ...

    async def sample(self, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        """Ask its model."""
        ...

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        """Pass on what a server logs."""
        ...


class GuardedTools(Protocol):
    """Tools that run in a micro-VM, guard and all."""

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """What is offered."""
        ...

    async def call(self, name: str, arguments: Mapping[str, JsonValue]) -> tuple[str, bool]:
        """Return what the caller may know of the outcome, and whether it is an error."""
        ...
