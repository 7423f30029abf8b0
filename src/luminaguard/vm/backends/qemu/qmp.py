"""Talking to QEMU itself, over a socket pair that only the two processes hold."""

import logging
import socket
from contextlib import suppress
from typing import cast

import anyio
from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError, StateError

from luminaguard.domain.calls import JsonValue
from luminaguard.errors import GuestLost, VmError

COMMAND_TIMEOUT_S = 20.0
"""QEMU answers in well under a millisecond, but not while it loads a template."""

logging.getLogger("qemu").addHandler(logging.NullHandler())


class Qmp:
    """One control connection; commands are serialized."""

    def __init__(self) -> None:
        self._client = QMPClient("luminaguard")
        self._turn = anyio.Lock()

    async def connect(self, host_end: socket.socket) -> None:
        """Take the socket over and wait for QEMU's greeting.

        Raises:
            GuestLost: QEMU ended before it greeted.
        """
        try:
            await self._client.connect(host_end)
        except (ConnectError, OSError) as problem:
            raise GuestLost("QEMU ended before it was up") from problem

    async def execute(self, command: str, **arguments: JsonValue) -> JsonValue:
        """Run one command and return its answer.

        Raises:
            VmError: QEMU refused the command, or gave no answer in time.
            GuestLost: QEMU is gone.
        """
        async with self._turn:
            return await self._execute(command, arguments)

    async def pass_fd(self, fd: int, fdset: int) -> None:
        """Give QEMU its own duplicate of an open file, as `/dev/fdset/<fdset>`."""
        await self._send_fd(fd, "add-fd", {"fdset-id": fdset})

    async def lend_fd(self, fd: int, name: str) -> None:
        """Give QEMU its own duplicate of an open file under a name, for `fd:<name>`."""
        await self._send_fd(fd, "getfd", {"fdname": name})

    async def close(self) -> None:
        """Drop the connection; never fails."""
        with suppress(EOFError, OSError, QMPError):
            await self._client.disconnect()

    async def _send_fd(self, fd: int, command: str, arguments: dict[str, JsonValue]) -> None:
        async with self._turn:
            try:
                self._client.send_fd_scm(fd)
            except (OSError, QMPError) as problem:
                raise GuestLost("QEMU is gone") from problem
            await self._execute(command, arguments)

    async def _execute(self, command: str, arguments: dict[str, JsonValue]) -> JsonValue:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            with anyio.fail_after(COMMAND_TIMEOUT_S):
                answer = await self._client.execute(command, cast("dict[str, object]", named))
        except ExecuteError as refusal:
            raise VmError(f"QEMU refused {command}: {refusal}") from refusal
        except TimeoutError as silence:
            raise VmError(f"QEMU did not answer {command} in {COMMAND_TIMEOUT_S:g} s") from silence
        except (EOFError, OSError, StateError, QMPError) as problem:
            raise GuestLost(f"QEMU went away during {command}") from problem
        return cast("JsonValue", answer)
