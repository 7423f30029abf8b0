"""Which MCP servers the user trusts, with which definitions of their tools: one private file.

Trust is the user's word on one server: its name, where it comes from (its identity: a command line
or an address) and the definitions that it had then. A tool that is new or changed, a server that
comes from elsewhere, and a file that cannot be read all mean: not trusted.
"""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.errors import PolicyError
from luminaguard.policy.mcp.call import McpCall, ToolDefinition
from luminaguard.policy.mcp.pins import PinCheck, PinState, compared
from luminaguard.policy.turn import alone

FORMAT = 1
MAX_BYTES = 16 * 1024 * 1024
Fields = Mapping[str, JsonValue]
_HINT = "`luminaguard mcp forget --all` begins anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedServer:
    """A server that the user trusts, as it was when they said so."""

    server: str
    identity: str
    """Where it comes from: command line or address."""
    tools: Mapping[str, ToolDefinition] = field(default_factory=dict[str, ToolDefinition])
    """Tool → the definition that the user accepted."""

    def check(self, definition: ToolDefinition) -> PinCheck:
        """Compare what the server says of a tool now with what was accepted."""
        return compared(self.tools.get(definition.name), definition)


Change = Callable[[dict[str, TrustedServer]], dict[str, TrustedServer]]


@dataclass(slots=True, kw_only=True)
class TrustBook:
    """The servers that one user trusts. Blocking; safe for several processes at once."""

    directory: Path
    """In the state directory; made when the first server is trusted."""

    def servers(self) -> tuple[TrustedServer, ...]:
        """Return all trusted servers, by name.

        Raises:
            PolicyError: the file cannot be read as what was written; nothing is trusted then.
        """
        if not self._file.exists():
            return ()
        with alone(self._lock):
            return tuple(server for _, server in sorted(self._read().items()))

    def is_trusted(self, server: str, identity: str, definition: ToolDefinition) -> bool:
        """Say whether the user trusts this server with this very definition. Never raises.

        A file that cannot be read trusts nothing; `servers` says what is wrong with it.
        """
        try:
            known = {one.server: one for one in self.servers()}.get(server)
        except (PolicyError, OSError):
            return False
        if known is None or known.identity != identity:
            return False
        return known.check(definition).state is PinState.SAME

    def call(
        self, server: str, identity: str, call: ToolCall, definition: ToolDefinition | None
    ) -> McpCall:
        """Return a call with its trust, ready to be judged."""
        trusted = definition is not None and self.is_trusted(server, identity, definition)
        return McpCall(server=server, call=call, trusted=trusted, definition=definition)

    def trust(self, server: str, identity: str, definitions: Iterable[ToolDefinition]) -> None:
        """Trust a server with these definitions, in place of what was accepted of it before.

        Raises:
            PolicyError: the file is damaged; nothing is changed.
        """
        tools = {definition.name: definition for definition in definitions}
        trusted = TrustedServer(server=server, identity=identity, tools=tools)
        self._change(lambda known: known | {server: trusted})

    def accept(self, server: str, definitions: Iterable[ToolDefinition]) -> None:
        """Accept new or changed definitions of a server that is trusted; others stay.

        Raises:
            PolicyError: the server is not trusted, or the file is damaged; nothing is changed.
        """
        accepted = {definition.name: definition for definition in definitions}

        def change(known: dict[str, TrustedServer]) -> dict[str, TrustedServer]:
            old = known.get(server)
            if old is None:
                raise PolicyError(f"{server!r} is not trusted", hint="trust the server first")
            tools = {**old.tools, **accepted}
            new = TrustedServer(server=server, identity=old.identity, tools=tools)
            return known | {server: new}

        self._change(change)

    def distrust(self, server: str) -> bool:
        """Trust a server no more; False if it was not trusted.

        Raises:
            PolicyError: the file is damaged.
        """
        if not self._file.exists():
            return False
        found: list[bool] = []

        def change(known: dict[str, TrustedServer]) -> dict[str, TrustedServer]:
            found.append(known.pop(server, None) is not None)
            return known

        self._change(change)
        return found[0]

    def forget_all(self) -> None:
        """Trust nothing any more, also where the file is damaged."""
        self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self.directory / "servers.json"

    @property
    def _lock(self) -> Path:
        return self.directory / "lock"

    def _change(self, change: Change) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(self._lock):
            self._write(change(self._read()).values())

    def _read(self) -> dict[str, TrustedServer]:
        content = self._content()
        if content is None:
            return {}
        try:
            document = cast("dict[str, JsonValue]", json.loads(content))
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}")
            servers = [_server_from(fields) for fields in cast("list[Fields]", document["servers"])]
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise PolicyError(
                f"no MCP server is trusted: {self._file} cannot be read ({error})", hint=_HINT
            ) from error
        return {server.server: server for server in servers}

    def _content(self) -> bytes | None:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(self._file, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PolicyError(f"no MCP server is trusted: {error}", hint=_HINT) from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(MAX_BYTES + 1) if stat.S_ISREG(status.st_mode) else b""
        is_others = sys.platform != "win32" and (
            status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077
        )
        if is_others or not stat.S_ISREG(status.st_mode) or len(content) > MAX_BYTES:
            raise PolicyError(
                f"no MCP server is trusted: {self._file} is open to others, too large or no file",
                hint=_HINT,
            )
        return content

    def _write(self, servers: Iterable[TrustedServer]) -> None:
        document = {"format": FORMAT, "servers": [_fields_of(server) for server in servers]}
        content = json.dumps(document, indent=1).encode()
        if len(content) > MAX_BYTES:
            raise PolicyError("too much to pin: the definitions are larger than 16 MiB")
        incoming = self.directory / f".servers.{os.getpid()}.incoming"
        incoming.unlink(missing_ok=True)
        descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        incoming.replace(self._file)


def _fields_of(server: TrustedServer) -> dict[str, JsonValue]:
    tools: list[JsonValue] = [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": dict(tool.input_schema),
            "annotations": dict(tool.annotations),
            "digest": tool.digest,
        }
        for tool in server.tools.values()
    ]
    return {"server": server.server, "identity": server.identity, "tools": tools}


def _server_from(fields: Fields) -> TrustedServer:
    tools = [_tool_from(tool) for tool in cast("Sequence[Fields]", fields["tools"])]
    return TrustedServer(
        server=str(fields["server"]),
        identity=str(fields["identity"]),
        tools={tool.name: tool for tool in tools},
    )


def _tool_from(fields: Fields) -> ToolDefinition:
    tool = ToolDefinition(
        name=str(fields["name"]),
        description=str(fields["description"]),
        input_schema=cast("Fields", fields["input_schema"]),
        annotations=cast("Fields", fields["annotations"]),
    )
    if tool.digest != fields["digest"]:
        raise ValueError(f"the definition of {tool.name!r} is not the one that was pinned")
    return tool
