"""Servers as configured: where each runs, how it is reached, by which endpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

from luminaguard.mcp.limits import Limits
from luminaguard.mcp.secret import Secret


class Where(StrEnum):
    """Where a server's process runs."""

    MACHINE = "machine"
    HOST = "host"


class Strategy(StrEnum):
    """How the next endpoint is chosen."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioServer:
    """A program that speaks the protocol on its standard input and output."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    """All that it finds in its environment, PATH aside; values may be secrets."""
    cwd: str | None = None
    where: Where = Where.MACHINE
    limits: Limits = field(default_factory=Limits)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not show up in errors or records."""
        return tuple(self.env.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of a server; all of a server's do the same."""

    url: str
    weight: int = 1

    @property
    def is_overheard(self) -> bool:
        """Whether what is sent, tokens included, can be read on the way."""
        return self.is_remote and urlsplit(self.url).scheme != "https"

    @property
    def is_remote(self) -> bool:
        """Whether it is on another machine, as far as its address tells."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return False
        try:
            return not ip_address(host).is_loopback
        except ValueError:
            return True


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """How this client introduces itself where a server wants OAuth."""

    client_id: str = ""
    """Registered beforehand; empty: registered when first used."""
    client_secret: Secret | None = None
    scope: str = ""
    callback_port: int = 0
    """Of the loopback address that the browser is sent back to; 0: any free one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """A server that is reached by streamable HTTP."""

    name: str
    endpoints: tuple[Endpoint, ...]
    """At least one."""
    headers: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    oauth: OAuth | None = None
    strategy: Strategy = Strategy.ROUND_ROBIN
    connections: int = 32
    """Requests at one endpoint at a time."""
    attempts: int = 4
    """How often a call that is safe to repeat is sent."""
    patience_s: float = 10.0
    """A request waits so long for an endpoint that can take it."""
    health_s: float = 30.0
    """Between two looks at an endpoint that answers."""
    limits: Limits = field(default_factory=Limits)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not show up in errors or records."""
        own = (self.oauth.client_secret,) if self.oauth and self.oauth.client_secret else ()
        return (*self.headers.values(), *own)


Server = StdioServer | HttpServer
