"""The guest of a Firecracker that runs none: speaks the real wire, does what Python says."""

import inspect
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from hostile import as_message
from luminaguard.domain.execution import Ended, Execution, GuestReport
from luminaguard.testing.hypervisor import BUILTINS, FakeGuest, Program, exited
from luminaguard.vm.hypervisor import GuestMount
from luminaguard_guest import wire

Programs = Mapping[str, Program]


class WireGuest:
    """Answers requests as the guest agent does, one conversation after the other.

    `programs` are those of `FakeHypervisor`. `disks` says why the disks in the slots cannot be
    mounted, None if they can.
    """

    def __init__(self, programs: Programs, disks: Callable[[str], str | None]) -> None:
        self.state = FakeGuest(entropy=b"", wall_clock_ns=0)
        self._programs = {**BUILTINS, "python": lambda _guest, _run: exited(0), **programs}
        self._disks = disks

    def serve(self, connection: socket.socket) -> None:
        """Answer until the host hangs up. Blocking."""
        connection.settimeout(0)
        anyio.run(self._serve, connection)

    async def _serve(self, connection: socket.socket) -> None:
        decoder = wire.Decoder(wire.FROM_HOST)
        running: dict[int, anyio.CancelScope] = {}
        async with anyio.create_task_group() as tasks:
            while content := await _receive(connection):
                for request_id, message in decoder.feed(content):
                    if isinstance(message, wire.Execute):
                        running[request_id] = anyio.CancelScope()
                        tasks.start_soon(
                            self._run, connection, request_id, message, running[request_id]
                        )
                    elif isinstance(message, wire.Kill):
                        running[request_id].cancel()
                    else:
                        for said in self._answers(message):
                            await _say(connection, request_id, said)
            tasks.cancel_scope.cancel()

    def _answers(self, request: wire.Message) -> list[Any]:
        match request:
            case wire.Hello(nonce=nonce):
                return [wire.Welcome(wire.VERSION, nonce, "3.11.2", "6.1.0")]
            case wire.Reseed(entropy=entropy, wall_clock_ns=wall_clock_ns):
                self.state.entropy, self.state.wall_clock_ns = entropy, wall_clock_ns
                return [wire.Done()]
            case wire.Mount(path=path, filesystem=filesystem):
                problem = self._disks(filesystem)
                if problem is not None:
                    return [wire.Failed(problem)]
                self.state.mount = GuestMount(path=path.decode(), filesystem=filesystem)
                return [wire.Done()]
            case wire.Harvest(skip=skip):
                records = [as_message(one) for one in self.state.upper.records(skip)]
                return [*records, wire.HarvestEnd(len(records))]
            case wire.Stdin():
                return []
            case _:
                return [wire.Done()]

    async def _run(
        self,
        connection: socket.socket,
        request_id: int,
        request: wire.Execute,
        scope: anyio.CancelScope,
    ) -> None:
        report = GuestReport(ended=Ended.SIGNALED, exit_code=0, signal=9)
        with scope:
            report = await self._report(request)
        for stream, content in ((1, report.stdout), (2, report.stderr)):
            for start in range(0, len(content), wire.CHUNK_BYTES):
                chunk = content[start : start + wire.CHUNK_BYTES]
                await _say(connection, request_id, wire.Output(stream, chunk))
        code = report.exit_code if report.ended is not Ended.TIMED_OUT else 0
        end = wire.Finished(report.ended.value, code, report.signal or 0, ())
        await _say(connection, request_id, end)

    async def _report(self, request: wire.Execute) -> GuestReport:
        execution = Execution(
            argv=tuple(part.decode() for part in request.argv),
            python=None if request.code is None else request.code.decode(),
            cwd=request.cwd.decode(),
            timeout_s=request.timeout_ms / 1000,
        )
        program = self._programs.get(execution.argv[0] if execution.argv else "python")
        if program is None:
            return GuestReport(ended=Ended.NOT_STARTED, exit_code=127)
        with anyio.move_on_after(execution.timeout_s):
            report = program(self.state, execution)
            return await report if inspect.isawaitable(report) else report
        return GuestReport(ended=Ended.TIMED_OUT, exit_code=124)


def warm_up() -> None:
    """Import all that an event loop needs, before the file system is gone."""
    anyio.run(anyio.sleep, 0)
    time.strftime("%c")


async def _receive(connection: socket.socket) -> bytes:
    while True:
        try:
            return connection.recv(65536)
        except BlockingIOError:
            await anyio.wait_readable(connection)
        except OSError:
            return b""


async def _say(connection: socket.socket, request_id: int, said: Any) -> None:
    left = memoryview(said if isinstance(said, bytes) else wire.FROM_GUEST.encode(request_id, said))
    while left:
        try:
            left = left[connection.send(left) :]
        except BlockingIOError:
            await anyio.wait_writable(connection)
        except OSError:
            return
