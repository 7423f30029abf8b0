"""A server's process on the host, for servers that the user put there by name.

It has a process group of its own, which is ended as a whole; finds in its environment PATH and what
the configuration names; and what it says on standard error is kept, the end of it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteReceiveStream, Process

from luminaguard.errors import McpError, McpUnreachable
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.secret import shown
from luminaguard.mcp.servers import StdioServer, Where
from luminaguard.mcp.transports.framing import CHUNK_BYTES, framed
from luminaguard.mcp.transports.ports import Streams

LEAVE_S = 2.0
"""For a server to end by itself, once its input is closed, and again once it was asked to."""
POLL_S = 0.01
_KEPT_ON_WINDOWS = ("SYSTEMROOT", "SYSTEMDRIVE", "PATHEXT", "COMSPEC")
"""Without these, no program starts there."""


@dataclass(slots=True)
class Tail:
    """Keeps the end of what was written."""

    most_bytes: int
    _kept: bytearray = field(default_factory=bytearray)

    def write(self, chunk: bytes) -> None:
        """Add to it; what came first is dropped."""
        self._kept += chunk
        del self._kept[: -self.most_bytes]

    @property
    def text(self) -> str:
        """What is kept; foreign text."""
        return self._kept.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _ProcessPipe:
    process: Process

    async def receive(self) -> bytes:
        stdout = self.process.stdout
        if stdout is None:
            raise anyio.EndOfStream
        return await stdout.receive(CHUNK_BYTES)

    async def send(self, chunk: bytes, /) -> None:
        if self.process.stdin is not None:
            await self.process.stdin.send(chunk)


def environment_of(server: StdioServer, host: Mapping[str, str]) -> dict[str, str]:
    """Return all that the server's process finds in its environment."""
    names = ("PATH", *(_KEPT_ON_WINDOWS if sys.platform == "win32" else ()))
    kept = {name: host[name] for name in names if name in host}
    return kept | {name: secret.reveal() for name, secret in server.env.items()}


@asynccontextmanager
async def on_host(
    server: StdioServer,
    tail: Tail,
    on_broken: Callable[[McpError], None],
    host: Mapping[str, str] = os.environ,
) -> AsyncGenerator[Streams]:
    """Run a server on the host for as long as the context is open.

    Raises:
        McpUnreachable: it does not belong on the host, or cannot be started.
    """
    if server.where is not Where.HOST:
        raise McpUnreachable(
            f"{server.name}: the server is not to run on the host",
            hint='"where": "host" in its entry would allow it',
            permanent=True,
        )
    process = await _start(server, host)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_keep, process.stderr, tail)
            async with framed(_ProcessPipe(process), server.limits, on_broken) as streams:
                yield streams
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):  # bounded by the waits within
            await end(process, server.limits)


async def _start(server: StdioServer, host: Mapping[str, str]) -> Process:
    environment = environment_of(server, host)
    try:
        return await anyio.open_process(
            [server.command, *server.args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=server.cwd,
            env=environment,
            start_new_session=sys.platform != "win32",
        )
    except (OSError, ValueError) as error:
        said = shown(str(error), server.secrets)
        raise McpUnreachable(
            f"{server.name}: {server.command} cannot be started: {said}",
            hint="check the command, and that it is on PATH",
            permanent=True,
        ) from error


async def _keep(stream: ByteReceiveStream | None, tail: Tail) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while stream is not None:
            tail.write(await stream.receive(CHUNK_BYTES))


async def end(process: Process, limits: Limits) -> None:
    """End a server and all it started: input closed, then asked, then killed.

    Source: MCP 2025-11-25, basic/lifecycle, "Shutdown".
    """
    patience_s = min(LEAVE_S, limits.close_s / 2)
    with anyio.move_on_after(patience_s), suppress(OSError, anyio.BrokenResourceError):
        if process.stdin is not None:
            await process.stdin.aclose()
    if not await _gone(process, patience_s):
        _signal(process, hard=False)
        await _gone(process, patience_s)
    _signal(process, hard=True)  # what it left behind in its group goes as well
    await _gone(process, patience_s)
    with anyio.move_on_after(patience_s):
        await process.aclose()


async def _gone(process: Process, patience_s: float) -> bool:
    """Wait for the process alone: `wait` would also wait for whoever inherited its pipes."""
    with anyio.move_on_after(patience_s):
        while process.returncode is None:  # noqa: ASYNC110 - told by nobody
            await anyio.sleep(POLL_S)
    return process.returncode is not None


def _signal(process: Process, *, hard: bool) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)  # there, that is final
        else:
            os.killpg(process.pid, signal.SIGKILL if hard else signal.SIGTERM)
