"""The policy's ruling on a call, before anything ran."""

from dataclasses import dataclass
from enum import StrEnum


class Lane(StrEnum):
    """GREEN runs, RED is rehearsed and asked about, FORBIDDEN never runs."""

    GREEN = "green"
    RED = "red"
    FORBIDDEN = "forbidden"


class Risk(StrEnum):
    """Order and colour for people; it never decides by itself."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Position in LOW < MEDIUM < HIGH < CRITICAL, from 0."""
        return list(Risk).index(self)


def highest(*risks: Risk) -> Risk:
    """Return the highest of the given risks."""
    return max(risks, key=lambda risk: risk.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Lane and risk, with the rules and reasons that led there."""

    lane: Lane
    risk: Risk
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    only_effect_unknown: bool = False
    """RED for no other reason than that the effect was unknown: a measured absence of effects
    may release the call (rule `no-effect`)."""
    changes: tuple[str, ...] = ()
    """What it may change, in words for people: paths, "files", "processes", ..."""
    reaches: tuple[str, ...] = ()
    """Where it may reach beyond the machine: hosts, "the network", "MCP server 'mail'", ..."""
    secrets: tuple[str, ...] = ()
    """Secrets that it may read, by path or name."""
    instead: tuple[str, ...] = ()
    """Smaller forms of the call that would run unasked."""
    allowed_by: str = ""
    """The user's own rule or grant that stands in for a human's yes; empty: somebody is asked."""
