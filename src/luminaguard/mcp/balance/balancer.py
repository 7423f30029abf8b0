"""Chooses the endpoint for each request, and keeps account of them. No I/O, no clock of its own."""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from luminaguard.mcp.balance.breaker import Breaker, BreakerSettings, Circuit
from luminaguard.mcp.balance.metrics import EndpointMetrics
from luminaguard.mcp.balance.strategies import pick_next
from luminaguard.mcp.servers import Endpoint, Strategy

MOST_SESSIONS = 10_000
"""Whose endpoint is remembered; the longest unused are forgotten first."""


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One endpoint, and how it does."""

    endpoint: Endpoint
    breaker: Breaker
    in_flight: int = 0
    credit: int = 0
    """For weighted turns."""
    used: int = 0
    """When it last had its turn, counted in turns."""
    ejected: str = ""
    requests: int = 0
    failures: int = 0
    retried: int = 0
    openings: int = 0
    answered: int = 0
    answered_s: float = 0.0

    @property
    def url(self) -> str:
        """The endpoint's address."""
        return self.endpoint.url

    def metrics(self) -> EndpointMetrics:
        """Return its figures."""
        return EndpointMetrics(
            url=self.url,
            circuit=self.breaker.circuit,
            in_flight=self.in_flight,
            requests=self.requests,
            failures=self.failures,
            retried=self.retried,
            openings=self.openings,
            mean_s=self.answered_s / self.answered if self.answered else 0.0,
            ejected=self.ejected,
        )


@dataclass(slots=True, kw_only=True)
class Balancer:
    """All endpoints of one server."""

    strategy: Strategy = Strategy.ROUND_ROBIN
    connections: int = 32
    """At one endpoint at a time."""
    settings: BreakerSettings = field(default_factory=BreakerSettings)
    _members: dict[str, Member] = field(default_factory=dict[str, Member])
    _sessions: OrderedDict[str, str] = field(default_factory=OrderedDict[str, str])
    _turn: int = 0

    @property
    def members(self) -> tuple[Member, ...]:
        """All endpoints, in the order in which they were added."""
        return tuple(self._members.values())

    def add(self, endpoint: Endpoint) -> Member:
        """Add an endpoint; one that is there keeps its account, and takes the new weight."""
        if (member := self._members.get(endpoint.url)) is not None:
            member.endpoint = endpoint
            return member
        member = Member(endpoint=endpoint, breaker=Breaker(settings=self.settings))
        self._members[endpoint.url] = member
        return member

    def remove(self, url: str) -> Member | None:
        """Take an endpoint out; requests that it has already end there."""
        for session in [key for key, at in self._sessions.items() if at == url]:
            del self._sessions[session]
        return self._members.pop(url, None)

    def pick(
        self, now_s: float, *, session: str = "", avoid: Collection[str] = (), probes: bool = True
    ) -> Member | None:
        """Return where the next request goes, None if nowhere for now; `began` has to follow.

        Args:
            now_s: Now.
            session: Whose request it is; stays where it was, as long as that works.
            avoid: Addresses to be used only where there is no other.
            probes: Whether the request may serve as the probe of an endpoint that failed.
        """
        able = [member for member in self._members.values() if self._is_able(member, now_s)]
        closed = [member for member in able if member.breaker.circuit is Circuit.CLOSED]
        kept = self._sessions.get(session) if session else None
        for member in closed:
            if member.url == kept and member.url not in avoid:
                return member
        for group in (_without(closed, avoid), closed, able if probes else []):
            if group:
                return pick_next(group, self.strategy)
        return None

    def _is_able(self, member: Member, now_s: float) -> bool:
        return (
            not member.ejected
            and member.in_flight < self.connections
            and member.breaker.may_send(now_s)
        )

    def began(self, member: Member, now_s: float, *, session: str = "") -> None:
        """A request goes there."""
        self._turn += 1
        member.used = self._turn
        member.in_flight += 1
        member.requests += 1
        member.breaker = member.breaker.probing(now_s)
        if session:
            self._sessions[session] = member.url
            self._sessions.move_to_end(session)
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)

    def answered(self, member: Member, took_s: float) -> None:
        """It answered."""
        member.in_flight -= 1
        member.answered += 1
        member.answered_s += took_s
        member.breaker = member.breaker.succeeded()

    def failed(
        self, member: Member, now_s: float, *, at_once: bool = False, wait_s: float = 0.0
    ) -> None:
        """It did not answer; as in `Breaker.failed`."""
        member.in_flight -= 1
        self.missed(member, now_s, at_once=at_once, wait_s=wait_s)

    def missed(
        self, member: Member, now_s: float, *, at_once: bool = False, wait_s: float = 0.0
    ) -> None:
        """It failed beside any request: a look at it did."""
        was = member.breaker.circuit
        member.failures += 1
        member.breaker = member.breaker.failed(now_s, at_once=at_once, wait_s=wait_s)
        if member.breaker.circuit is Circuit.OPEN and was is not Circuit.OPEN:
            member.openings += 1

    def gave_up(self, member: Member) -> None:
        """Whoever asked no longer wants the answer: that says nothing about the endpoint."""
        member.in_flight -= 1

    def eject(self, member: Member, why: str) -> None:
        """Use an endpoint no more, until `readmit`."""
        member.ejected = why

    def readmit(self, member: Member) -> None:
        """Use an endpoint again."""
        member.ejected = ""

    def next_due_s(self) -> float:
        """Return when time alone next lets an endpoint be asked; infinity if it does not."""
        waiting = [
            member.breaker.until_s
            for member in self._members.values()
            if not member.ejected and member.breaker.circuit is not Circuit.CLOSED
        ]
        return min(waiting, default=float("inf"))

    def metrics(self) -> tuple[EndpointMetrics, ...]:
        """Return the figures of all endpoints."""
        return tuple(member.metrics() for member in self._members.values())


def _without(members: Iterable[Member], avoid: Collection[str]) -> list[Member]:
    return [member for member in members if member.url not in avoid]
