"""Files of `mcpServers` as other clients write them: JSON, or Codex's TOML.

Claude, Cursor, Gemini and most others: `{"mcpServers": {...}}`; VS Code: `{"servers": {...}}`, in
its settings below "mcp"; Codex: `[mcp_servers.NAME]`.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from luminaguard.errors import ConfigError
from luminaguard.mcp.entry import Entry
from luminaguard.mcp.expand import Expansion
from luminaguard.mcp.servers import Server

LONGEST_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerList:
    """What one file says."""

    servers: tuple[Server, ...]
    unusable: Mapping[str, ConfigError] = field(default_factory=dict[str, ConfigError])
    """Entry → why it cannot be used; the others can."""
    disabled: tuple[str, ...] = ()
    ignored: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Entry → keys that mean something to other clients only."""

    def server(self, name: str) -> Server:
        """Return one server.

        Raises:
            ConfigError: there is none of that name, or it cannot be used.
        """
        for server in self.servers:
            if server.name == name:
                return server
        if name in self.unusable:
            raise self.unusable[name]
        if name in self.disabled:
            raise ConfigError(f"the server {name!r} is disabled in the configuration")
        known = ", ".join(server.name for server in self.servers) or "none"
        raise ConfigError(f"there is no server {name!r}", hint=f"configured: {known}")


def read_file(
    path: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    places: Mapping[str, str] | None = None,
) -> ServerList:
    """Return the servers that a file describes.

    Raises:
        ConfigError: it cannot be read, or holds no table of servers.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if len(content) > LONGEST_FILE_BYTES:
        raise ConfigError(f"{path} is longer than {LONGEST_FILE_BYTES} bytes")
    toml = path.suffix == ".toml"
    return read_servers(text, toml=toml, source=str(path), environ=environ, places=places)


def read_servers(
    text: str,
    *,
    toml: bool = False,
    source: str = "mcpServers",
    environ: Mapping[str, str] = os.environ,
    places: Mapping[str, str] | None = None,
) -> ServerList:
    """Return the servers that a configuration describes. One bad entry does not hide the others.

    Args:
        text: JSON, or Codex's TOML.
        toml: Which of them.
        source: Named in errors.
        environ: Where `${NAME}` in env and headers is looked up.
        places: Further names, expanded everywhere: `workspaceFolder`, ...

    Raises:
        ConfigError: it holds no table of servers.
    """
    expansion = Expansion(environ=environ, places=places or {})
    servers: list[Server] = []
    unusable: dict[str, ConfigError] = {}
    disabled: list[str] = []
    ignored: dict[str, tuple[str, ...]] = {}
    for name, keys in _table(_parsed(text, toml=toml, source=source), source).items():
        if not isinstance(keys, dict):
            unusable[name] = ConfigError(f"{name}: must be a table")
            continue
        entry = Entry(name, cast("dict[str, object]", keys), expansion)
        if keys.get("disabled") is True or keys.get("enabled") is False:  # pyright: ignore[reportUnknownMemberType]
            disabled.append(name)
            continue
        try:
            servers.append(entry.server())
        except ConfigError as error:
            unusable[name] = error
            continue
        if entry.ignored:
            ignored[name] = entry.ignored
    return ServerList(
        servers=tuple(servers), unusable=unusable, disabled=tuple(disabled), ignored=ignored
    )


def _parsed(text: str, *, toml: bool, source: str) -> object:
    try:
        return tomllib.loads(text) if toml else json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        kind = "TOML" if toml else "JSON"
        said = str(error) or "too deep"
        raise ConfigError(f"{source} is not {kind}: {said}") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _table(parsed: object, source: str) -> Mapping[str, object]:
    for path in (("mcpServers",), ("servers",), ("mcp", "servers"), ("mcp_servers",)):
        found = parsed
        for key in path:
            found = cast("dict[str, object]", found).get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return cast("dict[str, object]", found)
    raise ConfigError(
        f"{source} holds no table of servers",
        hint='{"mcpServers": {"NAME": {"command": "...", "args": []}}}',
    )
