"""From a configured server and one of its endpoints to a way there."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from luminaguard.errors import McpError
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.servers import Endpoint, HttpServer, Server
from luminaguard.mcp.transports.hostprocess import Tail, on_host
from luminaguard.mcp.transports.http import over_http
from luminaguard.mcp.transports.oauth import Login
from luminaguard.mcp.transports.ports import Streams


@dataclass(slots=True)
class Line:
    """What a way and the session on it tell each other."""

    on_broken: Callable[[McpError], None]
    """Ends the session: the server broke the rules."""
    tail: Tail = field(default_factory=lambda: Tail(Limits().stderr_bytes))
    """Takes what a process says beside the protocol."""


class Dial(Protocol):
    """Opens ways to endpoints. A stdio server has one endpoint, `stdio:NAME`."""

    def __call__(
        self, server: Server, endpoint: Endpoint, line: Line
    ) -> AbstractAsyncContextManager[Streams]:
        """Return the way, which is not open yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDial:
    """Reaches servers by HTTP, and starts those on the host that belong there.

    A stdio server that belongs into a micro-VM is refused: that way is another dial's.
    """

    login: Login = field(default_factory=Login)

    def __call__(
        self, server: Server, endpoint: Endpoint, line: Line
    ) -> AbstractAsyncContextManager[Streams]:
        """Return the way, which is not open yet."""
        if isinstance(server, HttpServer):
            return over_http(server, endpoint, self.login)
        return on_host(server, line.tail, line.on_broken)
