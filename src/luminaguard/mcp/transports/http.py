"""Streamable HTTP, guarded: what comes back is bounded, and what is known of a request is kept.

The SDK's transport speaks the protocol; its HTTP client is ours. A server cannot send more than the
limits say, nothing compressed (which could unpack to any size), no answer to another question; and
no failure of the network ends the session, it becomes the answer to its request.
"""

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx2
import pydantic_core
from mcp.client.auth import OAuthFlowError
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp_types import CONNECTION_CLOSED

from luminaguard.errors import (
    McpAnswerBroken,
    McpAuthError,
    McpConnectionLost,
    McpError,
    McpTimedOut,
    McpUnreachable,
)
from luminaguard.mcp.exchange import CURRENT, Exchange
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.secret import shown
from luminaguard.mcp.servers import Endpoint, HttpServer
from luminaguard.mcp.transports.oauth import Login
from luminaguard.mcp.transports.ports import Streams
from luminaguard.mcp.transports.rate import Allowance
from luminaguard.mcp.transports.retryafter import retry_after_s

_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
CONNECT_S = 10.0


@cache
def _trust() -> ssl.SSLContext:
    """Return whom connections trust; loading that takes longer than a call."""
    return httpx2.create_ssl_context()


def _network(pool: httpx2.Limits, endpoint: Endpoint) -> httpx2.AsyncHTTPTransport:
    """Return the network, by the proxy that the environment names for others than this machine."""
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    is_direct = not endpoint.is_remote or proxy_bypass(host)
    proxy = None if is_direct else getproxies().get(parts.scheme)
    return httpx2.AsyncHTTPTransport(verify=_trust(), limits=pool, proxy=proxy)


class _Stop(httpx2.StreamError):
    """Ends the reading of an answer; the exchange says why."""


@asynccontextmanager
async def over_http(
    server: HttpServer, endpoint: Endpoint, login: Login
) -> AsyncGenerator[Streams]:
    """Speak with one endpoint of a server for as long as the context is open."""
    async with (
        GuardedClient(server, endpoint, await login(server, endpoint)) as client,
        streamable_http_client(
            endpoint.url, http_client=client, max_sse_event_size=server.limits.answer_bytes
        ) as streams,
    ):
        yield streams


class GuardedClient(httpx2.AsyncClient):
    """Carries the requests of one endpoint, and turns what fails into answers."""

    def __init__(
        self, server: HttpServer, endpoint: Endpoint, auth: httpx2.Auth | None = None
    ) -> None:
        limits = server.limits
        headers = {name: secret.reveal() for name, secret in server.headers.items()}
        pool = httpx2.Limits(max_connections=server.connections * 2 + 2)  # listening ones as well
        super().__init__(
            headers={**headers, "accept-encoding": "identity"},
            timeout=httpx2.Timeout(limits.call_s, connect=min(CONNECT_S, limits.connect_s)),
            transport=_Guard(_network(pool, endpoint), limits, server.name),
            auth=auth,
            follow_redirects=False,
            trust_env=False,  # a proxy found there would go round the guard
        )
        self._name = server.name

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:  # noqa: ANN401 - as in httpx2
        """Send a request; one that asks something is always answered, if only with its failure."""
        exchange = CURRENT.get()
        if exchange is not None:
            exchange.in_session = MCP_SESSION_ID in request.headers
        try:
            return await super().send(request, **kwargs)
        except Exception as error:
            if exchange is not None:
                exchange.note(_failure(error, self._name))
            if request.method != "POST":
                raise  # the SDK expects these to fail
            return _stand_in(request)


def _stand_in(request: httpx2.Request) -> httpx2.Response:
    """Answer for a server that gave none; the exchange says why."""
    question = _question(request)
    if question is None:
        return httpx2.Response(202, request=request)
    error = {"code": CONNECTION_CLOSED, "message": "no answer"}
    answer = {"jsonrpc": "2.0", "id": question, "error": error}
    return httpx2.Response(200, json=answer, request=request)


def _question(request: httpx2.Request) -> object:
    """Return the id of what a request asks; None for a notification or something else."""
    try:
        message = json.loads(request.content)
    except (ValueError, RuntimeError):
        return None
    return cast("dict[str, object]", message).get("id") if isinstance(message, dict) else None


def _failure(error: Exception, name: str) -> McpError:
    """Return what failed on the way; none of the words of whoever is at the other end."""
    if isinstance(error, _NEVER_SENT):
        return McpUnreachable(
            f"{name}: no connection: {type(error).__name__}",
            hint="is the server running, and its address right?",
        )
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return McpTimedOut(f"{name}: no answer in time")
    if isinstance(error, OAuthFlowError):
        return McpAuthError(f"{name}: the login failed: {shown(str(error))}")
    return McpConnectionLost(f"{name}: the connection broke off: {type(error).__name__}")


class _Guard(httpx2.AsyncBaseTransport):
    """Stands between the network and the SDK."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, limits: Limits, name: str) -> None:
        self._inner = inner
        self._limits = limits
        self._name = name

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = CURRENT.get()
        if exchange is None or request.method == "DELETE":
            exchange = Exchange(deadline=anyio.current_time() + self._limits.close_s)
        elif request.method == "GET":
            exchange = Exchange(heard=True)  # its own: it outlives the request that opened it
        elif exchange.failure is not None and not exchange.heard:
            raise _Stop("given up")
        await request.aread()
        with anyio.fail_after(_left_s(exchange)):
            response = await self._inner.handle_async_request(request)
        exchange.status = response.status_code
        exchange.retry_after_s = retry_after_s(response.headers.get("retry-after", ""))
        body = _Body(response, exchange, self._limits, self._name)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise body.stop("the answer is packed, though that was not asked for")
        kind = response.headers.get("content-type", "").lower()
        if response.status_code < 400 and kind.startswith("text/event-stream"):
            return httpx2.Response(response.status_code, headers=response.headers, stream=body)
        return await self._whole(request, response, body)

    async def _whole(
        self, request: httpx2.Request, response: httpx2.Response, body: "_Body"
    ) -> httpx2.Response:
        """Return an answer that is there as a whole, and is one to what was asked."""
        try:
            content = b"".join([chunk async for chunk in body])
        finally:
            await response.aclose()
        question = _question(request) if request.method == "POST" else None
        kind = response.headers.get("content-type", "").lower()
        if question is not None and response.status_code < 300 and "json" in kind:
            _check_answer(content, question, body)
        headers = [
            (name, value)
            for name, value in response.headers.items()
            if name.lower() not in {"content-length", "transfer-encoding"}
        ]
        return httpx2.Response(response.status_code, headers=headers, content=content)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _check_answer(content: bytes, question: object, body: "_Body") -> None:
    try:
        answer = pydantic_core.from_json(content)
    except ValueError:  # too deep as well: the parser stops at 200 levels
        raise body.stop("the answer is not JSON that can be read") from None
    mine = isinstance(answer, Mapping) and str(cast("Mapping[str, object]", answer).get("id")) in {
        str(question),
        "None",
    }
    if not mine:
        raise body.stop("the answer is one to another question")


def _left_s(exchange: Exchange) -> float | None:
    if exchange.deadline == float("inf"):
        return None
    return max(0.0, exchange.deadline - anyio.current_time())


class _Body(httpx2.AsyncByteStream):
    """An answer's bytes, as long as there are not too many, and somebody waits for them."""

    def __init__(
        self, response: httpx2.Response, exchange: Exchange, limits: Limits, name: str
    ) -> None:
        self._response = response
        self._exchange = exchange
        self._limits = limits
        self._name = name
        self._left = limits.answer_bytes
        self._heard = Allowance(
            per_s=limits.heard_bytes_per_s,
            at_once=limits.answer_bytes,
            at_s=anyio.current_time(),
        )

    def stop(self, why: str) -> Exception:
        """Return the error that ends the reading, and write down why."""
        self._exchange.fail(McpAnswerBroken(f"{self._name}: {why}"))
        return _Stop(why)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream = cast("httpx2.AsyncByteStream", self._response.stream).__aiter__()
        while True:
            chunk = await self._next(stream)
            if chunk is None:
                return
            self._count(len(chunk))
            yield chunk

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes | None:
        """Return the next bytes, None at the end."""
        try:
            with anyio.fail_after(_left_s(self._exchange)):
                return await anext(stream, None)
        except (httpx2.HTTPError, TimeoutError, OSError) as error:
            self._exchange.fail(_failure(error, self._name))
            raise _Stop("broken off") from error

    def _count(self, size: int) -> None:
        if self._exchange.heard:
            if not self._heard.take(size, anyio.current_time()):
                raise self.stop("more is sent unasked than a client can take")
            return
        self._left -= size
        if self._left < 0:
            raise self.stop(f"the answer is longer than {self._limits.answer_bytes} bytes")

    async def aclose(self) -> None:
        await self._response.aclose()
