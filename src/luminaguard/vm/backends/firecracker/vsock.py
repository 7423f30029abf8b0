r"""The host's side of the guest's socket device: a connection to the guest agent.

Firecracker listens on a unix socket; `CONNECT <port>\n` asks for a port of the guest, `OK <n>\n`
says that somebody accepted there, and from then on the connection is the guest's.
Source: Firecracker, docs/vsock.md.

Two things make one attempt not enough. A guest that boots has no listener yet: Firecracker then
hangs up. A guest that was just restored is still to hear that its old connections are gone, and
until then may let a new one die with them, or never answer it. So each attempt is short, and the
connection counts once the agent has answered over it. Source: Firecracker issues 4736, 5688.
"""

import re
import socket
from collections.abc import Callable

import anyio

from luminaguard.errors import GuestLost, WireError
from luminaguard.vm.channel import Channel
from luminaguard.vm.guest import GuestClient

Connect = Callable[[], socket.socket]
"""Connects to Firecracker's socket, at once; raises OSError when nobody listens."""

_GRANTED = re.compile(rb"OK \d{1,10}\n")
_LINE_BYTES = 32
_ATTEMPT_S, _MOST_ATTEMPT_S = 1.0, 5.0
"""Longest that the first attempt, and any, may take to be granted and the agent to answer: each
one gets longer than the one before, for hosts that are slow."""
_PAUSE_S = 0.01
_MOST_PAUSE_S = 0.1


async def reach_agent(
    connect: Connect, port: int, *, limit_s: float, alive: Callable[[], bool]
) -> GuestClient:
    """Return a client of the guest agent that listens on `port`; it has answered.

    Args:
        connect: Makes connections to Firecracker.
        port: Of the guest.
        limit_s: When to give up.
        alive: Whether there still is a Firecracker.

    Raises:
        GuestLost: no answer within `limit_s`, or Firecracker has ended.
        WireError: the agent is of another version, or breaks the protocol.
    """
    last = "nobody was asked"
    pause_s, attempt_s = _PAUSE_S, _ATTEMPT_S
    with anyio.move_on_after(limit_s):
        while True:
            if not alive():
                raise GuestLost("Firecracker has ended")
            try:
                return await _greeted(connect, port, attempt_s)
            except WireError:
                raise
            except (GuestLost, TimeoutError) as problem:
                last = str(problem) or "no answer"
                attempt_s = min(attempt_s * 1.5, _MOST_ATTEMPT_S)
            except OSError as problem:  # at once: that says nothing of a slow host
                last = str(problem)
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _MOST_PAUSE_S)
    raise GuestLost(f"the guest agent did not answer within {limit_s:g} s; at last: {last}")


async def _greeted(connect: Connect, port: int, limit_s: float) -> GuestClient:
    with anyio.fail_after(limit_s):
        connection = connect()
        try:
            await _ask_for(connection, port)
        except BaseException:
            connection.close()
            raise
    client = GuestClient(Channel(connection))
    try:
        await client.hello(limit_s)
    except BaseException:
        client.close()
        raise
    return client


async def _ask_for(connection: socket.socket, port: int) -> None:
    connection.settimeout(0)
    connection.send(b"CONNECT %d\n" % port)  # a few bytes always fit an empty socket
    line = b""
    while not line.endswith(b"\n"):
        # Byte by byte: what follows the line is already the guest's.
        try:
            piece = connection.recv(1)
        except BlockingIOError:
            await anyio.wait_readable(connection)
            continue
        if not piece:
            raise ConnectionResetError("nobody listens on the guest agent's port")
        line += piece
        if len(line) > _LINE_BYTES:
            break
    if _GRANTED.fullmatch(line) is None:
        raise WireError("Firecracker's answer on the socket device is not of its form")
