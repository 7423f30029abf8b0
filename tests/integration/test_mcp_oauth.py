"""Logging in at a server that wants OAuth, by the SDK's own authorization server."""

import json
import secrets
import time
import urllib.request
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from mcp.client.auth import OAuthFlowError
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    ProviderTokenVerifier,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl

from luminaguard.errors import McpAuthError
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.servers import Endpoint, HttpServer, OAuth
from luminaguard.mcp.transports.dial import HostDial
from luminaguard.mcp.transports.oauth import Login, caught
from luminaguard.mcp.upstream import Upstream
from mcpworld.sdkserver import HttpWorld, Running, tool

pytestmark = pytest.mark.anyio


class Authority:
    """Registers anybody, and lets everybody in, who comes with the right code."""

    def __init__(self) -> None:
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.tokens: dict[str, AccessToken] = {}
        self.challenges: list[str] = []

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        assert client_info.client_id
        self.clients[client_info.client_id] = client_info

    async def authorize(
        self, client: OAuthClientInformationFull, params: AuthorizationParams
    ) -> str:
        self.challenges.append(params.code_challenge)
        code = secrets.token_urlsafe(24)
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=client.client_id or "",
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        token = f"tok-{secrets.token_urlsafe(24)}"
        self.tokens[token] = AccessToken(
            token=token,
            client_id=client.client_id or "",
            scopes=[],
            resource=authorization_code.resource,
        )
        return OAuthToken(access_token=token, token_type="Bearer", expires_in=3600)

    async def load_refresh_token(self, client: Any, refresh_token: str) -> RefreshToken | None:
        return None

    async def exchange_refresh_token(self, client: Any, refresh_token: Any, scopes: Any) -> Any:
        raise NotImplementedError

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.tokens.get(token)

    async def revoke_token(self, token: Any) -> None:
        raise NotImplementedError


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self.kept.get(name)

    def set(self, name: str, secret: str) -> None:
        self.kept[name] = secret


class Browser:
    """Logs in at once, as a person's browser would."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def open(self, url: str) -> None:
        self.shown.append(url)
        self._tasks.start_soon(anyio.to_thread.run_sync, self._visit, url)

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *ended: object) -> None:
        del ended
        await self._tasks.__aexit__(None, None, None)

    @staticmethod
    def _visit(url: str) -> None:
        for _ in range(200):  # the port to come back to opens just after
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    answer.read()
            except OSError:
                time.sleep(0.01)
            else:
                return


@pytest.fixture
def authority() -> Any:
    authority = Authority()
    running = Running(HttpWorld(port=0, tools=[tool("echo")]))
    running.with_auth = lambda port: {
        "auth_server_provider": authority,
        "token_verifier": ProviderTokenVerifier(cast("Any", authority)),
        "auth": AuthSettings(
            issuer_url=AnyHttpUrl(f"http://127.0.0.1:{port}/"),
            validate_token_resource=True,
            resource_server_url=AnyHttpUrl(f"http://127.0.0.1:{port}/mcp"),
            client_registration_options=ClientRegistrationOptions(enabled=True),
        ),
    }
    running.start()
    yield authority, running.world
    running.kill()


def server(world: HttpWorld) -> HttpServer:
    limits = Limits(connect_s=10.0, call_s=5.0, close_s=1.0)
    return HttpServer(
        name="guarded", endpoints=(Endpoint(url=world.url),), oauth=OAuth(), limits=limits
    )


async def test_a_person_logs_in_once_and_tokens_last(authority: Any) -> None:
    authority, world = authority
    vault = Memory()
    async with Browser() as browser:
        dial = HostDial(login=Login(open_browser=browser.open, vault=vault))
        async with Upstream(server(world), dial=dial) as up:
            await up.call("echo", {}, safe_to_retry=False)
        async with Upstream(server(world), dial=dial) as up:
            await up.call("echo", {}, safe_to_retry=False)
    assert len(browser.shown) == 1
    assert parse_qs(urlsplit(browser.shown[0]).query)["code_challenge_method"] == ["S256"]
    assert len(world.calls) == 2
    kept = json.loads(next(iter(vault.kept.values())))
    assert kept["tokens"]["access_token"] in authority.tokens


async def test_without_a_person_a_server_that_wants_a_login_is_refused(authority: Any) -> None:
    _, world = authority
    dial = HostDial(login=Login(vault=Memory()))
    async with Upstream(server(world), dial=dial) as up:
        with pytest.raises(McpAuthError):
            await up.call("echo", {}, safe_to_retry=False)
    assert world.calls == []


async def test_without_oauth_configured_nobody_is_asked_to_log_in(authority: Any) -> None:
    _, world = authority
    plain = HttpServer(name="plain", endpoints=(Endpoint(url=world.url),))
    async with Upstream(plain) as up:
        with pytest.raises(McpAuthError):
            await up.tools()


async def test_a_login_that_nobody_finishes_ends_in_time() -> None:
    with pytest.raises(OAuthFlowError, match="in time"):
        await caught(0, longest_s=0.05)
