"""The servers behind the gateway, from `mcpServers` JSON as other clients write it."""

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from luminaguard.errors import ConfigError
from luminaguard.gateway.names import why_bad_server

MAX_FILE_BYTES = 4 * 1024 * 1024
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_IN_MACHINE = (
    "a server with a command runs in a micro-VM by default, which this release cannot do yet",
    'to run it on this host, with all that you may do yourself: "where": "host"',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """One server; either `command` or `url` is set."""

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    is_bare: bool = False
    """Its names are offered without a prefix."""

    @property
    def identity(self) -> str:
        """Where it comes from, without secrets: trust and approvals name it."""
        if self.url:
            return self.url
        place = f" in {self.cwd}" if self.cwd else ""
        return f"{shlex.join(self.command)}{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFile:
    """What one file says."""

    servers: tuple[Configured, ...]
    unusable: Mapping[str, ConfigError] = field(default_factory=dict[str, ConfigError])
    """Entry → why it is left out; the others are used."""


def read_servers(path: Path, environ: Mapping[str, str] = os.environ) -> ServerFile:
    """Return the servers that a file names.

    Raises:
        ConfigError: it cannot be read, or holds no table of servers.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes")
        document: object = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}",
            hint='write {"mcpServers": {"NAME": {"url": "https://..."}}}',
        ) from error
    table = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    entries = table.get("mcpServers", table.get("servers"))
    if not isinstance(entries, dict):
        raise ConfigError(f'{path} has no "mcpServers"')
    servers: list[Configured] = []
    unusable: dict[str, ConfigError] = {}
    for name, entry in cast("dict[str, object]", entries).items():
        fields = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
        if fields.get("disabled") is True:
            continue
        try:
            servers.append(_server(name, fields, environ))
        except ConfigError as error:
            unusable[name] = error
    return ServerFile(servers=tuple(servers), unusable=unusable)


def _server(name: str, fields: Mapping[str, object], environ: Mapping[str, str]) -> Configured:
    if why := why_bad_server(name):
        raise ConfigError(f"a server cannot be named {name!r}: {why}")
    is_bare = fields.get("prefix") == ""
    url, command = _text(name, fields, "url"), _text(name, fields, "command")
    if bool(url) == bool(command):
        raise ConfigError(f"{name}: needs either a command or a url")
    if url:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{name}: the url is not the address of a server")
        headers = _texts(name, fields, "headers", environ)
        return Configured(name=name, url=url, headers=headers, is_bare=is_bare)
    if fields.get("where") != "host":
        message, hint = _IN_MACHINE
        raise ConfigError(f"{name}: {message}", hint=hint)
    arguments = fields.get("args", [])
    if not isinstance(arguments, list) or not all(
        isinstance(one, str) for one in cast("list[object]", arguments)
    ):
        raise ConfigError(f"{name}: args must be a list of texts")
    return Configured(
        name=name,
        command=(command, *cast("list[str]", arguments)),
        env=_texts(name, fields, "env", environ),
        cwd=_text(name, fields, "cwd") or None,
        is_bare=is_bare,
    )


def _text(name: str, fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise ConfigError(f"{name}: {key} must be text")
    return value


def _texts(
    name: str, fields: Mapping[str, object], key: str, environ: Mapping[str, str]
) -> dict[str, str]:
    value = fields.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: {key} must be a table of texts")
    found: dict[str, str] = {}
    for one, text in cast("dict[str, object]", value).items():
        if not isinstance(text, str) or "\0" in text:
            raise ConfigError(f"{name}: {key}.{one} must be text")
        missing = [found for found in _VARIABLE.findall(text) if found not in environ]
        if missing:
            raise ConfigError(f"{name}: {key}.{one} names ${{{missing[0]}}}, which is not set")
        found[one] = _VARIABLE.sub(lambda match: environ[match[1]], text)
    return found
