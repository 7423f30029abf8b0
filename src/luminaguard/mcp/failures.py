"""The SDK's errors, and what is known about the request, as ours."""

import logging
from collections.abc import Iterable
from typing import cast

from mcp.client.auth import OAuthFlowError
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, PARSE_ERROR
from pydantic import ValidationError

from luminaguard.errors import (
    McpAnswerBroken,
    McpAuthError,
    McpConnectionLost,
    McpError,
    McpRefused,
    McpSessionLost,
    McpTimedOut,
    McpUnavailable,
    McpUnreachable,
)
from luminaguard.mcp.exchange import Exchange
from luminaguard.mcp.secret import Secret, shown

for _logger in ("mcp", "client"):
    # The SDK logs what servers say; it reaches a handler that the user sets up, never the terminal.
    logging.getLogger(_logger).addHandler(logging.NullHandler())


def first_of(error: BaseException) -> BaseException:
    """Return the first error of a group, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        error = inner[0]
    return error


def failure(
    error: BaseException, exchange: Exchange, server: str, secrets: Iterable[Secret] = ()
) -> McpError:
    """Return what went wrong with a request, in our words and without secrets."""
    if exchange.failure is not None:
        return exchange.failure
    found = first_of(error)
    if isinstance(found, McpError):
        return found
    said = shown(str(found), secrets)
    if by_status := _by_status(exchange, server, said):
        return by_status
    match found:
        case MCPError(code=code):
            return _by_code(code, server, said)
        case TimeoutError():
            return McpTimedOut(f"{server}: no answer in time")
        case OAuthFlowError():
            return McpAuthError(f"{server}: the login failed: {said}")
        case OSError():
            return McpUnreachable(f"{server}: {said}")
        case _:
            said = "" if isinstance(found, ValidationError) else f": {said}"
            return McpAnswerBroken(f"{server}: the answer does not follow the protocol{said}")


def _by_status(exchange: Exchange, server: str, said: str) -> McpError | None:
    status = exchange.status
    match status:
        case None:
            return None
        case 401 | 403:
            return McpAuthError(
                f"{server}: the server refuses the login (status {status})",
                hint="check the token, or log in again",
            )
        case 404 if exchange.in_session:
            return McpSessionLost(f"{server}: the server no longer knows the session")
        case 425 | 429:
            return McpUnavailable(
                f"{server}: too many requests for now (status {status})",
                retry_after_s=exchange.retry_after_s,
                not_taken=True,
            )
        case _ if status == 408 or status >= 500:
            return McpUnavailable(
                f"{server}: the server failed (status {status}): {said}",
                retry_after_s=exchange.retry_after_s,
            )
        case _:
            return None


_LOST = (
    "Connection closed",
    "SSE stream ended without a response",
    "SSE stream ended and reconnection attempts were exhausted",
    "SSE stream failed",
)
"""The SDK's own words for an answer that never came; servers use their code for anything."""


def _by_code(code: int, server: str, said: str) -> McpError:
    if code == CONNECTION_CLOSED and said.startswith(_LOST):
        return McpConnectionLost(f"{server}: the connection broke off: {said}")
    if code == PARSE_ERROR:
        return McpAnswerBroken(f"{server}: the answer cannot be read: {said}")
    return McpRefused(f"{server}: {said}", server_code=code)
