"""Logging in at servers that want OAuth: authorization code with PKCE, tokens in the keyring.

The SDK runs the flow; what is here keeps its tokens, and catches the browser when it comes back, on
a loopback port that is open only meanwhile.
"""

import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, cast
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import httpx2
from anyio.abc import ByteStream
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl, ValidationError

from luminaguard.mcp.servers import Endpoint, HttpServer, OAuth

SERVICE = "luminaguard-mcp"
"""Under which the keyring keeps tokens, one entry for each server and address."""
LOGIN_S = 300.0
"""For a person to log in."""
_LONGEST_REQUEST_BYTES = 16 * 1024
_PAGE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"LuminaGuard: you can close this page.\n"
)

OpenBrowser = Callable[[str], Awaitable[None]]
"""Shows a person the page to log in at."""


class Vault(Protocol):
    """Keeps secrets: the keyring, or a double."""

    def get(self, name: str) -> str | None:
        """Return one; None if there is none."""
        ...

    def set(self, name: str, secret: str) -> None:
        """Keep one."""
        ...


@dataclass(slots=True)
class Keyring:
    """The desktop's own store; without one, secrets last as long as the process."""

    _memory: dict[str, str] = field(default_factory=dict[str, str])

    def get(self, name: str) -> str | None:
        """Return one; None if there is none."""
        import keyring  # noqa: PLC0415 - slow to load, and only this needs it
        from keyring.errors import KeyringError  # noqa: PLC0415

        try:
            return self._memory.get(name) or keyring.get_password(SERVICE, name)
        except KeyringError:
            return None

    def set(self, name: str, secret: str) -> None:
        """Keep one; never on the disk in the clear."""
        import keyring  # noqa: PLC0415
        from keyring.errors import KeyringError  # noqa: PLC0415

        self._memory[name] = secret
        try:
            keyring.set_password(SERVICE, name, secret)
        except KeyringError:
            return


@dataclass(slots=True, kw_only=True)
class Tokens:
    """One server's tokens, and how this client is registered there."""

    vault: Vault
    name: str
    given: OAuth

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens; None before the first login."""
        kept = (await self._kept()).get("tokens")
        try:
            return OAuthToken.model_validate(kept) if kept else None
        except ValidationError:
            return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep tokens."""
        await self._keep("tokens", tokens.model_dump(mode="json", exclude_none=True))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return how this client is registered; None if it is not."""
        if self.given.client_id:
            secret = self.given.client_secret
            return OAuthClientInformationFull(
                client_id=self.given.client_id,
                client_secret=secret.reveal() if secret else None,
                token_endpoint_auth_method="client_secret_post" if secret else "none",
                redirect_uris=[AnyUrl(await self.redirect_uri())],
            )
        kept = (await self._kept()).get("client")
        try:
            return OAuthClientInformationFull.model_validate(kept) if kept else None
        except ValidationError:
            return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep how this client is registered."""
        await self._keep("client", client_info.model_dump(mode="json", exclude_none=True))

    async def redirect_uri(self) -> str:
        """Return where the browser comes back to: the same address each time, once registered."""
        uri = (await self._kept()).get("redirect_uri")
        if isinstance(uri, str) and not self.given.callback_port:
            return uri
        port = self.given.callback_port or await anyio.to_thread.run_sync(_free_port)
        uri = f"http://127.0.0.1:{port}/callback"
        await self._keep("redirect_uri", uri)
        return uri

    async def _kept(self) -> dict[str, object]:
        text = await anyio.to_thread.run_sync(self.vault.get, self.name)
        try:
            found: object = json.loads(text) if text else {}
        except ValueError:
            return {}
        return cast("dict[str, object]", found) if isinstance(found, dict) else {}

    async def _keep(self, key: str, value: object) -> None:
        text = json.dumps({**await self._kept(), key: value})
        await anyio.to_thread.run_sync(self.vault.set, self.name, text)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Logs in at servers whose configuration wants OAuth."""

    open_browser: OpenBrowser | None = None
    """None: nobody is there to log in; tokens from earlier are used."""
    vault: Vault = field(default_factory=Keyring)

    async def __call__(self, server: HttpServer, endpoint: Endpoint) -> httpx2.Auth | None:
        """Return what logs requests in; None for a server without OAuth."""
        if server.oauth is None:
            return None
        tokens = Tokens(vault=self.vault, name=f"{server.name} {endpoint.url}", given=server.oauth)
        uri = await tokens.redirect_uri()
        metadata = OAuthClientMetadata(
            client_name="LuminaGuard",
            redirect_uris=[AnyUrl(uri)],
            scope=server.oauth.scope or None,
        )
        return OAuthClientProvider(
            endpoint.url,
            metadata,
            tokens,
            redirect_handler=self._show,
            callback_handler=partial(caught, urlsplit(uri).port or 0),
        )

    async def _show(self, url: str) -> None:
        if self.open_browser is None:
            raise OAuthFlowError("a person has to log in first")
        if urlsplit(url).scheme not in {"http", "https"}:
            raise OAuthFlowError("the page to log in at is no web address")
        await self.open_browser(url)


async def caught(port: int, longest_s: float = LOGIN_S) -> AuthorizationCodeResult:
    """Wait for the browser to come back with a code.

    Raises:
        OAuthFlowError: it did not, or brought a refusal.
    """
    found: list[AuthorizationCodeResult | OAuthFlowError] = []
    with anyio.move_on_after(longest_s) as scope:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as on:

            async def serve(stream: ByteStream) -> None:
                async with stream:
                    result = await _asked(stream)
                    if result is not None:
                        found.append(result)
                        scope.cancel()

            await on.serve(serve)
    if not found:
        raise OAuthFlowError("nobody logged in, in time")
    if isinstance(found[0], OAuthFlowError):
        raise found[0]
    return found[0]


async def _asked(stream: ByteStream) -> AuthorizationCodeResult | OAuthFlowError | None:
    """Return what a request brings; None if it is not the browser that was sent out."""
    head = b""
    with anyio.move_on_after(10.0):
        while b"\r\n\r\n" not in head and len(head) < _LONGEST_REQUEST_BYTES:
            try:
                head += await stream.receive()
            except anyio.EndOfStream:
                return None
        await stream.send(_PAGE)
    verb, _, rest = head.decode("latin-1").partition(" ")
    parts = urlsplit(rest.partition(" ")[0])
    if verb != "GET" or parts.path != "/callback":
        return None
    said = {key: values[0] for key, values in parse_qs(parts.query).items()}
    if "error" in said:
        return OAuthFlowError(f"refused: {said['error'][:100]}")
    if "code" not in said:
        return None
    return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said.get("iss"))
