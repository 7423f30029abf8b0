"""One entry of `mcpServers`, in any of the dialects that clients write, as a server."""

import dataclasses
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar, cast
from urllib.parse import urlsplit

from luminaguard.errors import ConfigError
from luminaguard.mcp.expand import Expansion
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.secret import Secret
from luminaguard.mcp.servers import (
    Endpoint,
    HttpServer,
    OAuth,
    Server,
    StdioServer,
    Strategy,
    Where,
)

_Choice = TypeVar("_Choice", bound=StrEnum)
_HTTP_TYPES = ("http", "streamable-http", "streamableHttp", "streamable_http")
_LONGEST_S = 86_400.0
_LIMIT_KEYS = {
    "timeout_s": "call_s",
    "tool_timeout_sec": "call_s",
    "connect_timeout_s": "connect_s",
    "startup_timeout_sec": "connect_s",
    "idle_timeout_s": "idle_s",
    "list_timeout_s": "list_s",
}


class Entry:
    """Takes the known keys out of one entry; what is left belongs to others."""

    def __init__(self, name: str, keys: Mapping[str, object], expansion: Expansion) -> None:
        self.name = name
        self._keys = keys
        self._expansion = expansion
        self._taken = {"type", "transport", "disabled", "enabled"}

    @property
    def ignored(self) -> tuple[str, ...]:
        """Keys that mean nothing here, sorted."""
        return tuple(sorted(set(self._keys) - self._taken))

    def server(self) -> Server:
        """Return the server that the entry describes.

        Raises:
            ConfigError: it describes none that can be used.
        """
        kind = self._keys.get("type") or self._keys.get("transport")
        if kind == "sse":
            raise ConfigError(
                f"{self.name}: the old SSE transport is not spoken",
                hint='most servers answer at another path as well: "type": "http"',
            )
        if kind is not None and kind not in (*_HTTP_TYPES, "stdio"):
            raise ConfigError(f"{self.name}: unknown type {kind!r}", hint='"stdio" or "http"')
        is_http = kind in _HTTP_TYPES or (
            kind is None and any(key in self._keys for key in ("url", "httpUrl", "endpoints"))
        )
        if is_http and "command" in self._keys:
            raise ConfigError(f"{self.name}: has both a command and an address")
        return self._http() if is_http else self._stdio()

    def _stdio(self) -> StdioServer:
        command = self._plain("command")
        if not command:
            raise ConfigError(f"{self.name}: has neither a command nor a url")
        cwd = self._plain("cwd")
        return StdioServer(
            name=self.name,
            command=command,
            args=tuple(
                self._expansion.plain(argument, f"{self.name}.args")
                for argument in self._texts("args")
            ),
            env=self._secrets("env"),
            cwd=cwd or None,
            where=self._choice("where", Where, Where.MACHINE),
            limits=self._limits(),
        )

    def _http(self) -> HttpServer:
        headers = {**self._secrets("headers"), **self._codex_headers()}
        for header, secret in headers.items():
            if any(ord(char) < 32 or ord(char) > 255 for char in header + secret.reveal()):
                raise ConfigError(f"{self.name}: the header {header!r} holds control characters")
        return HttpServer(
            name=self.name,
            endpoints=self._endpoints(),
            headers=headers,
            oauth=self._oauth(),
            strategy=self._choice("strategy", Strategy, Strategy.ROUND_ROBIN),
            connections=int(self._number("connections", 32, 1, 1000)),
            attempts=int(self._number("attempts", 4, 1, 20)),
            patience_s=self._number("patience_s", 10.0, 0.0, _LONGEST_S),
            health_s=self._number("health_s", 30.0, 0.1, _LONGEST_S),
            limits=self._limits(),
        )

    def _endpoints(self) -> tuple[Endpoint, ...]:
        several = self._take("endpoints")
        if several is None:
            url = self._plain("httpUrl") or self._plain("url")
            return (self._endpoint(url, 1),)
        if not isinstance(several, list) or not several or "url" in self._keys:
            raise ConfigError(
                f"{self.name}: endpoints must be a list of addresses, without a url beside it",
                hint='"endpoints": [{"url": "https://...", "weight": 2}, ...]',
            )
        found = tuple(self._endpoint_of(entry) for entry in cast("list[object]", several))
        if len({endpoint.url for endpoint in found}) < len(found):
            raise ConfigError(f"{self.name}: an endpoint is named twice")
        return found

    def _endpoint_of(self, entry: object) -> Endpoint:
        keys: Mapping[str, object] = {"url": entry} if isinstance(entry, str) else _mapping(entry)
        part = Entry(f"{self.name}.endpoints", keys, self._expansion)
        found = self._endpoint(part._plain("url"), int(part._number("weight", 1, 1, 1000)))
        if part.ignored:
            raise ConfigError(f"{part.name}: unknown keys {', '.join(part.ignored)}")
        return found

    def _endpoint(self, url: str, weight: int) -> Endpoint:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
            parts = urlsplit("")
        if not usable or any(ord(char) <= 32 for char in url):
            raise ConfigError(f"{self.name}: the url is not the address of a server")
        if parts.username or parts.password:
            raise ConfigError(
                f"{self.name}: a password in a url ends up in records and on screens",
                hint="write it as a header, with ${VARIABLE} for the secret",
            )
        return Endpoint(url=url, weight=weight)

    def _codex_headers(self) -> dict[str, Secret]:
        found: dict[str, Secret] = {}
        for header, variable in self._mapping_of("env_http_headers").items():
            found[header] = self._variable(variable)
        found |= self._secrets("http_headers")
        if token := self._take("bearer_token_env_var"):
            found["Authorization"] = Secret(f"Bearer {self._variable(token).reveal()}")
        return found

    def _variable(self, name: object) -> Secret:
        return Secret(self._expansion.secret(f"${{{name}}}", self.name))

    def _oauth(self) -> OAuth | None:
        entry = self._take("oauth")
        if entry is None or entry is False:
            return None
        part = Entry(
            f"{self.name}.oauth", {} if entry is True else _mapping(entry), self._expansion
        )
        secret = part._secret_text("client_secret")
        return OAuth(
            client_id=part._plain("client_id") or part._plain("clientId"),
            client_secret=Secret(secret) if secret else None,
            scope=part._plain("scope"),
            callback_port=int(part._number("callback_port", 0, 0, 65_535)),
        )

    def _limits(self) -> Limits:
        limits = Limits()
        for key, field in _LIMIT_KEYS.items():
            value = self._number(key, getattr(limits, field), 0.05, _LONGEST_S)
            limits = dataclasses.replace(limits, **{field: value})
        most = self._number("max_answer_bytes", limits.answer_bytes, 1024, 1 << 30)
        return dataclasses.replace(limits, answer_bytes=int(most))

    def _take(self, key: str) -> object:
        self._taken.add(key)
        return self._keys.get(key)

    def _text(self, key: str) -> str:
        value = self._take(key)
        if value is None:
            return ""
        if not isinstance(value, str) or "\0" in value:
            raise ConfigError(f"{self.name}: {key} must be text")
        return value

    def _plain(self, key: str) -> str:
        return self._expansion.plain(self._text(key), f"{self.name}.{key}")

    def _secret_text(self, key: str) -> str:
        return self._expansion.secret(self._text(key), f"{self.name}.{key}")

    def _texts(self, key: str) -> Sequence[str]:
        value = self._take(key)
        items = cast("list[object]", value if isinstance(value, list) else [])
        good = value is None or isinstance(value, list)
        if not good or not all(isinstance(item, str) and "\0" not in item for item in items):
            raise ConfigError(f"{self.name}: {key} must be a list of texts")
        return cast("list[str]", items)

    def _mapping_of(self, key: str) -> Mapping[str, object]:
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ConfigError(f"{self.name}: {key} must be a table of texts")
        return cast("dict[str, object]", value)

    def _secrets(self, key: str) -> dict[str, Secret]:
        found: dict[str, Secret] = {}
        for name, value in self._mapping_of(key).items():
            if not isinstance(value, str | int | float) or "\0" in f"{name}{value}" or not name:
                raise ConfigError(f"{self.name}: {key}.{name} must be text")
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found[name] = Secret(self._expansion.secret(text, f"{self.name}.{key}.{name}"))
        return found

    def _number(self, key: str, default: float, least: float, most: float) -> float:
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{self.name}: {key} must be a number")
        if not least <= value <= most:
            raise ConfigError(f"{self.name}: {key} must be between {least:g} and {most:g}")
        return value

    def _choice(self, key: str, kind: type[_Choice], default: _Choice) -> _Choice:
        value = self._take(key)
        if value is None:
            return default
        try:
            return kind(value)
        except ValueError:
            names = ", ".join(kind)
            raise ConfigError(f"{self.name}: {key} must be one of {names}") from None


def _mapping(entry: object) -> Mapping[str, object]:
    if not isinstance(entry, dict):
        raise ConfigError("an entry must be a table")
    return cast("dict[str, object]", entry)
