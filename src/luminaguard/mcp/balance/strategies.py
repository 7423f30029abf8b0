"""Whose turn it is, among endpoints that can take a request."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from luminaguard.mcp.servers import Endpoint, Strategy


class Turn(Protocol):
    """What a choice rests on."""

    endpoint: Endpoint
    in_flight: int
    credit: int
    used: int


_Member = TypeVar("_Member", bound=Turn)


def pick_next(members: Sequence[_Member], strategy: Strategy) -> _Member:
    """Return one of them, of which there is at least one. Weighted turns change their credit."""
    match strategy:
        case Strategy.ROUND_ROBIN:
            return min(members, key=lambda member: member.used)
        case Strategy.LEAST_CONNECTIONS:
            return min(members, key=lambda member: (member.in_flight, member.used))
        case Strategy.WEIGHTED:
            return _weighted(members)


def _weighted(members: Sequence[_Member]) -> _Member:
    """Smooth weighted round-robin: shares by weight, and nobody served in bursts.

    Source: nginx, ngx_http_upstream_round_robin.c: each turn everyone earns its weight, the richest
    is served and pays what all earned.
    """
    for member in members:
        member.credit += member.endpoint.weight
    chosen = max(members, key=lambda member: member.credit)
    chosen.credit -= sum(member.endpoint.weight for member in members)
    return chosen
