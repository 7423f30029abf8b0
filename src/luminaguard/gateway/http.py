"""The gateway over HTTP: loopback only, with a bearer token, Host and Origin checked."""

import hmac
import os
import secrets
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from luminaguard.errors import ConfigError

HOST = "127.0.0.1"
PATH = "/mcp"


class BearerOnly:
    """Lets nobody through who does not show the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 without the token."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        shown = [value for name, value in scope.get("headers", []) if name == b"authorization"]
        if len(shown) == 1 and hmac.compare_digest(shown[0], self._expected):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def guarded_app(server: Server[Any], *, port: int, token: str) -> ASGIApp:
    """Return the application: token first, then Host and Origin, then the protocol.

    Source: MCP specification 2025-11-25, transports: servers must check Origin, and should bind
    to loopback and authenticate; GHSA-9h52-p55h-vw2f (DNS rebinding).
    """
    names = (f"{HOST}:{port}", f"localhost:{port}")
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        host=HOST,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=list(names),
            allowed_origins=[f"http://{name}" for name in names],
        ),
    )
    return BearerOnly(app, token)


class Listener(uvicorn.Server):
    """Listens until told to end; signals are somebody else's."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app, log_level="error", access_log=False, timeout_graceful_shutdown=2, ws="none"
            )
        )

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


def token_at(path: Path, tell: Callable[[str], None]) -> str:
    """Return the token of a file that only its user can read; made, and told, the first time.

    Raises:
        ConfigError: the file is open to others, or no file.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
    except FileExistsError:
        return _read_token(path, flags)
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    tell(f"the gateway's bearer token, shown this once and kept in {path}: {token}")
    return token


def _read_token(path: Path, flags: int) -> str:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | flags), encoding="ascii") as file:
            status = os.fstat(file.fileno())
            token = file.read(256).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token in {path} cannot be read: {error}") from error
    is_others = sys.platform != "win32" and (
        status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077
    )
    if is_others or not stat.S_ISREG(status.st_mode) or len(token) < 32:
        raise ConfigError(
            f"the token in {path} is open to others, or no token",
            hint="remove the file: another is made",
        )
    return token
