"""One endpoint's connection: made when needed, looked at before it is used, made anew when lost."""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup
from mcp_types import Tool

from luminaguard.errors import McpAnswerBroken
from luminaguard.mcp.balance.balancer import Member
from luminaguard.mcp.connection import Connection
from luminaguard.mcp.link import Callbacks, Link, Listed
from luminaguard.mcp.pins import Pins, pins_of
from luminaguard.mcp.servers import Server
from luminaguard.mcp.transports.dial import Dial, Line


@dataclass(slots=True, kw_only=True, eq=False)
class Seat:
    """A member of the balancer, and the connection to it."""

    server: Server
    member: Member
    dial: Dial
    callbacks: Callbacks
    mode: str
    on_changed: Callable[["Seat", Listed], None]
    looked_s: float = float("-inf")
    """When its tools were last looked at."""
    look_wanted: bool = False
    looking: bool = False
    _connection: Connection | None = None
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def connection(self) -> Connection | None:
        """The connection, if there is one that works."""
        if self._connection is not None and self._connection.link.is_up:
            return self._connection
        return None

    async def connected(self, tasks: TaskGroup) -> tuple[Connection, bool]:
        """Return a working connection, and whether it is a new one.

        Raises:
            McpError: there is none to be had; nothing of a request was sent.
        """
        async with self._lock:
            if (connection := self.connection) is not None:
                return connection, False
            link = self._new_link()
            await tasks.start(_run, link)
            self._connection = Connection(link=link)
            return self._connection, True

    async def drop(self) -> None:
        """Close the connection."""
        if (connection := self._connection) is not None:
            await connection.link.close()

    def lose(self) -> None:
        """Use the present connection for nothing further."""
        if self._connection is not None:
            self._connection.link.leave()
            self._connection = None

    def _new_link(self) -> Link:
        callbacks = Callbacks(
            elicit=self.callbacks.elicit,
            sample=self.callbacks.sample,
            roots=self.callbacks.roots,
            on_notification=self.callbacks.on_notification,
            on_changed=lambda listed: self.on_changed(self, listed),
        )
        line = Line(lambda error: link.broke(error))  # noqa: PLW0108 - there is none yet
        link = Link(
            name=self.server.name,
            open_transport=lambda: self.dial(self.server, self.member.endpoint, line),
            limits=self.server.limits,
            callbacks=callbacks,
            secrets=self.server.secrets,
            mode=self.mode,
            beside=lambda: line.tail.text,
        )
        return link


async def _run(link: Link, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    await link.run(task_status=task_status)


def distinct(tools: list[Tool], name: str) -> Pins:
    """Return the pins of a listing in which each name is there once.

    Raises:
        McpAnswerBroken: one is there twice: which of them is meant could change at will.
    """
    pins = pins_of(tools)
    if len(pins) < len(tools):
        raise McpAnswerBroken(f"{name}: lists two tools of the same name")
    return pins
