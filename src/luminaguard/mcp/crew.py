"""The endpoints of one server at work: who takes a request, who is looked at, who is out."""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar, cast

import anyio
from anyio.abc import TaskGroup
from mcp_types import Tool

from luminaguard.errors import (
    McpAnswerBroken,
    McpConnectionLost,
    McpError,
    McpSessionLost,
    McpToolsChanged,
    McpUnavailable,
    McpUnreachable,
)
from luminaguard.mcp.balance.balancer import Balancer
from luminaguard.mcp.balance.breaker import BreakerSettings, Circuit
from luminaguard.mcp.connection import Connection
from luminaguard.mcp.link import Callbacks, Listed
from luminaguard.mcp.pins import Pins, difference
from luminaguard.mcp.retry import asked_s, may_help
from luminaguard.mcp.seat import Seat, distinct
from luminaguard.mcp.servers import Endpoint, HttpServer, Server
from luminaguard.mcp.transports.dial import Dial

_Result = TypeVar("_Result")
PATIENCE_S = 10.0
"""A request waits so long for a process that failed to start."""
BETWEEN_LOOKS_S = 0.2
"""At one endpoint, however often it says that something changed."""
MOST_CHANGES = 100


@dataclass(slots=True, kw_only=True, eq=False)
class Crew:
    """All endpoints of one server, their connections, and what their tools must be."""

    server: Server
    callbacks: Callbacks
    dial: Dial
    mode: str
    pins: Pins | None
    settings: BreakerSettings = field(default_factory=BreakerSettings)
    tasks: TaskGroup | None = None
    balancer: Balancer = field(init=False)
    _pinned: bool = field(init=False)
    _seats: dict[str, Seat] = field(default_factory=dict[str, Seat], init=False)
    _stirred: anyio.Event = field(default_factory=anyio.Event, init=False)
    _changes: deque[Listed] = field(default_factory=lambda: deque[Listed](maxlen=MOST_CHANGES))

    def __post_init__(self) -> None:
        self._pinned = self.pins is not None
        server = self.server
        if isinstance(server, HttpServer):
            self.balancer = Balancer(
                strategy=server.strategy,
                connections=server.connections,
                settings=self.settings,
            )
            endpoints = server.endpoints
        else:
            self.balancer = Balancer(connections=1000, settings=self.settings)
            endpoints = (Endpoint(url=f"stdio:{server.name}"),)
        for endpoint in endpoints:
            self.add(endpoint)

    @property
    def most_attempts(self) -> int:
        """How often one request is sent; each endpoint can have its turn."""
        own = self.server.attempts if isinstance(self.server, HttpServer) else 2
        return max(own, len(self._seats) + 1)

    def add(self, endpoint: Endpoint) -> None:
        """Use a further endpoint."""
        member = self.balancer.add(endpoint)
        if endpoint.url not in self._seats:
            self._seats[endpoint.url] = Seat(
                server=self.server,
                member=member,
                dial=self.dial,
                callbacks=self.callbacks,
                mode=self.mode,
                on_changed=self._heard,
            )
        self.stir()

    def remove(self, url: str) -> None:
        """Use an endpoint no more; its connection closes after what it is asked already."""
        self.balancer.remove(url)
        seat = self._seats.pop(url, None)
        if seat is not None and self.tasks is not None:
            self.tasks.start_soon(self._retire, seat)

    async def _retire(self, seat: Seat) -> None:
        with anyio.move_on_after(self.server.limits.call_s):
            while seat.member.in_flight > 0:
                await self._stirring(math.inf)
        await seat.drop()

    async def close(self) -> None:
        """Close all connections, together."""
        with anyio.move_on_after(self.server.limits.close_s * 2, shield=True):
            async with anyio.create_task_group() as tasks:
                for seat in self._seats.values():
                    tasks.start_soon(seat.drop)

    def accept(self, pins: Pins) -> None:
        """Pin other tools."""
        self.pins = pins
        self._pinned = True
        for seat in self._seats.values():
            seat.look_wanted = True
        self.stir()

    def has_other(self, failed_at: Collection[str]) -> bool:
        """Whether some endpoint did not fail yet and may be asked now."""
        now_s = anyio.current_time()
        return any(
            seat.member.url not in failed_at
            and not seat.member.ejected
            and seat.member.breaker.may_send(now_s)
            for seat in self._seats.values()
        )

    def again(self, trial: "Trial") -> None:
        """A request that failed in a trial is sent again."""
        trial.seat.member.retried += 1

    async def changed(self) -> Listed:
        """Wait for the next change that a server tells of."""
        while not self._changes:
            await self._stirring(math.inf)
        return self._changes.popleft()

    def stir(self) -> None:
        """Wake whoever waits for something to happen here."""
        self._stirred.set()
        self._stirred = anyio.Event()

    async def _stirring(self, longest_s: float) -> None:
        with anyio.move_on_after(longest_s):
            await self._stirred.wait()

    def _heard(self, seat: Seat, listed: Listed) -> None:
        if listed is Listed.TOOLS:
            seat.look_wanted = True
        if not self._changes or self._changes[-1] is not listed:
            self._changes.append(listed)
        self.callbacks.on_changed(listed)
        self.stir()

    async def trial(self, session: str, *, avoid: Collection[str], is_probe: bool) -> "Trial":
        """Return the next endpoint for a request, which `Trial.run` sends.

        Raises:
            McpError: none can take it, in time.
        """
        server = self.server
        by_http = isinstance(server, HttpServer)
        give_up_s = anyio.current_time() + (server.patience_s if by_http else PATIENCE_S)
        probes = is_probe or not by_http  # processes are not looked at in between
        while True:
            now_s = anyio.current_time()
            member = self.balancer.pick(now_s, session=session, avoid=avoid, probes=probes)
            if member is not None and member.url in self._seats:
                self.balancer.began(member, now_s, session=session)
                return Trial(crew=self, seat=self._seats[member.url])
            if now_s >= give_up_s or not self._can_wait():
                raise self._nobody()
            due_s = self.balancer.next_due_s()
            await self._stirring((min(give_up_s, due_s) if due_s > now_s else give_up_s) - now_s)

    def _can_wait(self) -> bool:
        return any(not member.ejected for member in self.balancer.members)

    def _nobody(self) -> McpError:
        ejected = [member.ejected for member in self.balancer.members if member.ejected]
        if ejected and len(ejected) == len(self.balancer.members):
            return McpToolsChanged(
                f"{self.server.name}: {ejected[0]}",
                hint="look at what changed, and trust the server again if that is right",
            )
        return McpUnreachable(
            f"{self.server.name}: no endpoint can take a request for now",
            hint="see the figures of its endpoints",
        )

    async def watch(self) -> None:
        """Look at endpoints when it is time: failed ones, changed ones, and all now and then."""
        while True:
            now_s = anyio.current_time()
            due_s = math.inf
            for seat in list(self._seats.values()):
                at_s = self._look_s(seat)
                if at_s > now_s:
                    due_s = min(due_s, at_s)
                elif self.tasks is not None:
                    seat.looking = True
                    self.tasks.start_soon(self._look, seat)
            await self._stirring(due_s - now_s)

    def _look_s(self, seat: Seat) -> float:
        """Return when an endpoint is to be looked at."""
        if seat.looking:
            return math.inf
        soon_s = seat.looked_s + BETWEEN_LOOKS_S
        if seat.look_wanted:
            return soon_s
        server = self.server
        breaker = seat.member.breaker
        if not isinstance(server, HttpServer):
            return math.inf  # a process is started when it is needed
        if breaker.circuit is Circuit.CLOSED and seat.looked_s == -math.inf:
            return math.inf  # the first request looks at it
        if breaker.circuit is Circuit.CLOSED:
            return max(soon_s, seat.looked_s + server.health_s)
        return max(soon_s, breaker.until_s)

    async def _look(self, seat: Seat) -> None:
        member = seat.member
        seat.look_wanted = False
        member.breaker = member.breaker.probing(anyio.current_time())
        try:
            connection, _ = await seat.connected(self._group)
            self.compare(seat, await connection.list_tools())
            self.balancer.readmit(member)
            member.breaker = member.breaker.succeeded()
        except McpToolsChanged:
            member.breaker = member.breaker.succeeded()
        except McpError as error:
            self.blame(seat, error)
        finally:
            seat.looked_s = anyio.current_time()
            seat.looking = False
            self.stir()

    def blame(self, seat: Seat, error: McpError) -> None:
        """Hold a failure against an endpoint, and leave connections that are of no more use."""
        if not may_help(error):
            return
        if isinstance(error, McpUnreachable | McpAnswerBroken | McpConnectionLost):
            seat.lose()
        if isinstance(error, McpSessionLost):
            return  # the endpoint is well; a new session is all it takes
        self.balancer.missed(
            seat.member,
            anyio.current_time(),
            at_once=isinstance(error, McpUnreachable),
            wait_s=asked_s(error) or 0.0,
        )

    def compare(self, seat: Seat, tools: list[Tool]) -> None:
        """Take an endpoint out whose tools are not the pinned ones.

        Raises:
            McpToolsChanged: they are not.
            McpAnswerBroken: a name is there twice.
        """
        seat.looked_s = anyio.current_time()
        found = distinct(tools, self.server.name)
        if self.pins is None or (not self._pinned and len(self._seats) == 1):
            self.pins = found
        differs = difference(self.pins, found)
        if not differs:
            return
        words = [
            f"{kind}: {', '.join(names)}"
            for kind, names in (
                ("changed", differs.changed),
                ("new", differs.added),
                ("gone", differs.removed),
            )
            if names
        ]
        why = f"its tools are not those that were pinned ({'; '.join(words)})"
        self.balancer.eject(seat.member, why)
        raise McpToolsChanged(f"{self.server.name}: {why}", difference=differs)

    @property
    def _group(self) -> TaskGroup:
        if self.tasks is None:
            raise McpUnavailable(f"{self.server.name}: used before it was opened")
        return self.tasks

    async def connect(self, seat: Seat) -> Connection:
        """Return a connection to an endpoint whose tools were compared."""
        connection, is_new = await seat.connected(self._group)
        if is_new or seat.looked_s == -math.inf:
            self.compare(seat, await connection.list_tools())
        return connection


@dataclass(slots=True, kw_only=True, eq=False)
class Trial:
    """One attempt of one request, at one endpoint."""

    crew: Crew
    seat: Seat
    sent: bool = False
    """Whether the request itself may have been sent."""
    may_help: bool = True
    """Whether another attempt may end better."""

    @property
    def url(self) -> str:
        """Where."""
        return self.seat.member.url

    async def run(
        self, send: Callable[[Connection], Awaitable[_Result]], *, sees_tools: bool
    ) -> _Result:
        """Send the request, and keep account of how it ended.

        Raises:
            McpError: it was not answered, or with an error.
        """
        balancer, member = self.crew.balancer, self.seat.member
        began_s = anyio.current_time()
        try:
            connection = await self.crew.connect(self.seat)
            self.sent = True
            found = await send(connection)
            if sees_tools:
                self.crew.compare(self.seat, cast("list[Tool]", found))
        except McpError as error:
            changed = isinstance(error, McpToolsChanged)
            self.may_help = changed or may_help(error)
            if changed or not may_help(error):
                balancer.answered(member, anyio.current_time() - began_s)
            else:
                balancer.gave_up(member)
                self.crew.blame(self.seat, error)
            if changed:
                self.sent = False
            raise
        except BaseException:
            balancer.gave_up(member)
            raise
        else:
            balancer.answered(member, anyio.current_time() - began_s)
            return found
        finally:
            self.crew.stir()
