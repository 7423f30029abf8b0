"""Names under which tools and prompts of many servers are offered side by side.

A name says whose tool it is, and no two are the same: a server cannot pass its tool off as
another's, nor hide one behind characters that nobody sees.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SEPARATOR = "__"
OWN = "luminaguard"
"""The server name of the guarded tools; no configured server may carry it."""
MAX_CHARS = 128
"""Source: MCP specification 2025-11-25, tools: names are 1 to 128 characters of
`[A-Za-z0-9_.-]`."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")
_SERVER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]|_(?!_))*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a name leads."""

    server: str
    name: str
    """As the server itself calls it."""

    @property
    def whole(self) -> str:
        """The name that cards and records use, whatever clients see: server and tool."""
        return f"{self.server}{SEPARATOR}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Offered name → where it leads; and what cannot be offered, with the reason."""

    places: Mapping[str, Place]
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    """`server` and tool, spelled out → why it is left out."""


def why_bad_server(name: str) -> str:
    """Return why a server may not have this name; empty if it may."""
    if name.casefold() == OWN:
        return f"{OWN!r} is the name of the tools that come with LuminaGuard"
    if not _SERVER.match(name) or name.endswith("_"):
        return "use letters, digits, '.', '-' and single '_', beginning with a letter or digit"
    return "" if len(name) <= MAX_CHARS // 2 else f"use at most {MAX_CHARS // 2} characters"


def directory(names: Iterable[Place], *, bare: frozenset[str] = frozenset()) -> Directory:
    """Return the names to offer.

    Args:
        names: Everything that the servers offer.
        bare: Servers whose names are offered without a prefix, as the user wants it.

    Where names collide, letter case aside, *none* of them is offered: which one a client means
    could not be told.
    """
    found: dict[str, list[tuple[str, Place]]] = {}
    refused: dict[str, str] = {}
    for place in names:
        offered = place.name if place.server in bare else place.whole
        if why := _why_bad(place.name, offered):
            refused[ascii(place.whole)] = why
            continue
        found.setdefault(offered.casefold(), []).append((offered, place))
    places: dict[str, Place] = {}
    for alike in found.values():
        if len(alike) == 1:
            places[alike[0][0]] = alike[0][1]
            continue
        for _, place in alike:
            others = ", ".join(other.whole for _, other in alike if other is not place)
            refused[ascii(place.whole)] = f"its name collides with {others or 'itself'}"
    return Directory(places=places, refused=refused)


def _why_bad(name: str, offered: str) -> str:
    if not _NAME.match(name):
        return "its name holds characters that a name may not have, or none at all"
    if len(offered) > MAX_CHARS:
        return f"its name has {len(offered)} characters, more than {MAX_CHARS}"
    return ""
