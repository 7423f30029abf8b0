"""Progress towards a client while its call is held, so that it neither times out nor wonders.

Source: MCP specification 2025-11-25, progress: values of one token must increase.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from luminaguard.gateway.ports import OnProgress

BEAT_S = 5.0
"""Clients give up after 30 to 60 s without a sign, so several signs get lost before one does."""
_STEP = 1e-3

Send = Callable[[float, float | None, str | None], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Held:
    """The progress of one call: our beats and then the server's own, always increasing."""

    send: Send
    beat_s: float = BEAT_S
    _last: float | None = field(default=None, init=False)
    _base: float = field(default=0.0, init=False)
    _is_server_heard: bool = field(default=False, init=False)

    async def beat(self, text: str) -> None:
        """Say that the call is still held."""
        self._last = 0.0 if self._last is None else self._last + _STEP
        await self.send(self._last, None, text)

    async def passed_on(self, progress: float, total: float | None, message: str | None) -> None:
        """Pass on what the server says; values that do not increase are left out."""
        if not self._is_server_heard:
            self._is_server_heard = True
            if self._last is not None and progress <= self._last:
                self._base = self._last + _STEP - progress
        value = self._base + progress
        if self._last is not None and value <= self._last:
            return
        self._last = value
        await self.send(value, None if total is None else self._base + total, message)

    @asynccontextmanager
    async def beating(self, text: str) -> AsyncGenerator[OnProgress]:
        """Beat while the body runs, until the server itself is heard."""
        async with anyio.create_task_group() as tasks:

            async def beats() -> None:
                while True:
                    await anyio.sleep(self.beat_s)
                    if self._is_server_heard:
                        return
                    await self.beat(text)

            tasks.start_soon(beats)
            yield self.passed_on
            tasks.cancel_scope.cancel()
