"""HTTP over a unix socket: one connection and one thread for each request, bounded in time.

The other end is a process that a guest may have taken over, so nothing it sends is trusted: the
standard library bounds lines and headers, this module the body and the time.
"""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.vm.backends.firecracker.api.faults import ApiLost, ApiRefused

_ANSWER_BYTES = 1024 * 1024
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}

Connect = Callable[[], socket.socket]
"""Makes a connection to the API socket, at once; raises OSError when nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the interface."""

    method: str
    path: str
    body: Mapping[str, JsonValue] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Transport:
    """Carries requests to one Firecracker, one after the other."""

    def __init__(self, connect: Connect) -> None:
        """Use `connect` for every request."""
        self._connect = connect
        # Not the shared pool of threads: a socket that is half dead must hold up nobody else.
        self._limiter = anyio.CapacityLimiter(1)

    async def send(self, request: Request, *, limit_s: float) -> Mapping[str, object]:
        """Return the answer's JSON object; an empty one for an answer without content.

        Raises:
            ApiRefused: any status but success.
            ApiLost: no connection, no answer within `limit_s`, or no proper one.
        """
        try:
            with anyio.fail_after(limit_s):
                connection = self._connect()
                connection.settimeout(limit_s)
                status, content = await self._exchange(connection, request)
        except TimeoutError as late:
            raise ApiLost(f"Firecracker did not answer {request} within {limit_s:g} s") from late
        except (OSError, http.client.HTTPException) as problem:
            reason = str(problem) or type(problem).__name__
            raise ApiLost(f"Firecracker cannot be asked {request}: {reason}") from problem
        answer = _object(request, content)
        if not 200 <= status < 300:
            raise ApiRefused(str(request), status, str(answer.get("fault_message", "")))
        return answer

    async def _exchange(self, connection: socket.socket, request: Request) -> tuple[int, bytes]:
        """Talk in a thread; end its waiting when ours ends."""
        talk = _Talk(connection, request)
        try:
            return await run_sync(talk.run, abandon_on_cancel=True, limiter=self._limiter)
        except anyio.get_cancelled_exc_class():
            talk.give_up()
            raise


class _Talk:
    """One request over one connection, which is closed in the end by whoever has it then."""

    def __init__(self, connection: socket.socket, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._turn = threading.Lock()
        self._running = False
        self._given_up = False

    def run(self) -> tuple[int, bytes]:
        """Return the answer's status and content. Blocking."""
        with self._turn:
            if self._given_up:
                raise ConnectionAbortedError("given up")
            self._running = True
        channel = http.client.HTTPConnection("localhost")
        channel.auto_open = 0  # never to a network of any kind
        channel.sock = self._connection
        try:
            asked = self._request
            body = None if asked.body is None else canonical_json(asked.body)
            channel.request(asked.method, asked.path, body=body, headers=_HEADERS)
            response = channel.getresponse()
            content = response.read(_ANSWER_BYTES + 1)
            return response.status, content
        finally:
            with self._turn:
                self._running = False
                self._given_up = True
                channel.close()
                self._connection.close()

    def give_up(self) -> None:
        """See that nothing waits for the answer any more."""
        with self._turn:
            if self._running:
                # Closing it could hand the thread another file under the same number.
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
            else:
                self._given_up = True
                self._connection.close()


def _object(request: Request, content: bytes) -> Mapping[str, object]:
    if not content:
        return {}
    if len(content) > _ANSWER_BYTES:
        raise ApiLost(f"Firecracker's answer to {request} is too long")
    try:
        answer: object = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise ApiLost(f"Firecracker's answer to {request} is no JSON") from problem
    if not isinstance(answer, dict):
        raise ApiLost(f"Firecracker's answer to {request} is no JSON object")
    return cast("dict[str, object]", answer)
