"""What the servers offer, side by side: each name or address leads to one server."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import mcp_types as types

from luminaguard.errors import McpRefused
from luminaguard.gateway.names import SEPARATOR, Directory, Place, directory
from luminaguard.gateway.ports import Upstream
from luminaguard.gateway.proposal import definition_of
from luminaguard.policy.mcp.call import ToolDefinition

_VARIABLE = re.compile(r"\\\{[^}]*\\\}")


@dataclass(slots=True, kw_only=True)
class Catalogue:
    """The servers, by what they offer."""

    upstreams: Mapping[str, Upstream]
    bare: frozenset[str] = frozenset()
    """Servers whose names are offered without a prefix."""
    warn: Callable[[str], None] = lambda _: None
    _warned: set[str] = field(default_factory=set[str], init=False)

    def tools(self) -> list[types.Tool]:
        """Return all tools under their offered names."""
        found: list[types.Tool] = []
        for offered, place in self._tools().places.items():
            tool = self.upstreams[place.server].tools[place.name]
            found.append(tool.model_copy(update={"name": offered}))
        return found

    def tool(self, offered: str) -> tuple[Upstream, str]:
        """Return the server and its own name of an offered tool.

        Raises:
            McpRefused: there is none.
        """
        place = self._tools().places.get(offered)
        if place is None:
            raise _nothing(f"Unknown tool: {offered}")
        return self.upstreams[place.server], place.name

    def definition(self, upstream: Upstream, name: str) -> ToolDefinition | None:
        """Return what a server says of its tool, as last heard."""
        tool = upstream.tools.get(name)
        return definition_of(tool) if tool is not None else None

    async def prompts(self) -> list[types.Prompt]:
        """Return all prompts under their offered names."""
        by_place: dict[tuple[str, str], types.Prompt] = {}
        for upstream in self._with("prompts"):
            for prompt in await upstream.prompts():
                by_place[upstream.name, prompt.name] = prompt
        names = directory(
            (Place(server=server, name=name) for server, name in by_place), bare=self.bare
        )
        self._tell(names)
        return [
            by_place[place.server, place.name].model_copy(update={"name": offered})
            for offered, place in names.places.items()
        ]

    def prompt(self, offered: str) -> tuple[Upstream, str]:
        """Return the server and its own name of an offered prompt.

        Raises:
            McpRefused: no server can be meant.
        """
        server, separator, name = offered.partition(SEPARATOR)
        if separator and server in self.upstreams and server not in self.bare:
            return self.upstreams[server], name
        bare = [one for one in self._with("prompts") if one.name in self.bare]
        if len(bare) != 1:
            raise _nothing(f"Unknown prompt: {offered}")
        return bare[0], offered

    async def resources(self) -> list[types.Resource]:
        """Return all resources; an address that two servers give is left out."""
        found: dict[str, list[types.Resource]] = {}
        for upstream in self._with("resources"):
            for resource in await upstream.resources():
                found.setdefault(str(resource.uri), []).append(resource)
        return [same[0] for same in found.values() if len(same) == 1]

    async def templates(self) -> list[types.ResourceTemplate]:
        """Return all templates of resources; one that two servers give is left out."""
        found: dict[str, list[types.ResourceTemplate]] = {}
        for upstream in self._with("resources"):
            for template in await upstream.templates():
                found.setdefault(template.uri_template, []).append(template)
        return [same[0] for same in found.values() if len(same) == 1]

    async def resource(self, uri: str) -> Upstream:
        """Return the server that a resource belongs to.

        Raises:
            McpRefused: no server has it, or more than one.
        """
        candidates = self._with("resources")
        if len(candidates) == 1:
            return candidates[0]
        owners = [one for one in candidates if await _has(one, uri)]
        if len(owners) != 1:
            raise _nothing(f"Unknown resource: {uri}", code=types.INVALID_PARAMS)
        return owners[0]

    def can(self, feature: str) -> bool:
        """Say whether any server has a feature: "prompts", "resources", "logging", ..."""
        return bool(self._with(feature))

    def _with(self, feature: str) -> Sequence[Upstream]:
        return [
            one for one in self.upstreams.values() if getattr(one.capabilities, feature) is not None
        ]

    def with_logging(self) -> Sequence[Upstream]:
        """Return the servers that can be told how much to log."""
        return self._with("logging")

    def _tools(self) -> Directory:
        names = directory(
            (
                Place(server=upstream.name, name=name)
                for upstream in self.upstreams.values()
                for name in upstream.tools
            ),
            bare=self.bare,
        )
        self._tell(names)
        return names

    def _tell(self, names: Directory) -> None:
        for name, why in names.refused.items():
            if name not in self._warned:
                self._warned.add(name)
                self.warn(f"{name} is not offered: {why}")


async def _has(upstream: Upstream, uri: str) -> bool:
    if any(str(one.uri) == uri for one in await upstream.resources()):
        return True
    patterns = (
        _VARIABLE.sub("[^/]*", re.escape(one.uri_template)) for one in await upstream.templates()
    )
    return any(re.fullmatch(pattern, uri) for pattern in patterns)


def _nothing(text: str, code: int = types.INVALID_PARAMS) -> McpRefused:
    refused = McpRefused(text)
    refused.context["error"] = types.ErrorData(code=code, message=text)
    return refused
