"""One command running in a guest, seen from the host: input fed, output kept within bounds."""

import anyio

from luminaguard.domain.execution import Ended, Execution, GuestReport
from luminaguard.errors import GuestError, GuestLost, WireError
from luminaguard.vm import channel as wire
from luminaguard.vm.channel import Channel

GRACE_S = 10.0
"""What a guest gets on top of a command's own limit, unless said otherwise."""

_KILL_S = 5.0
"""What a guest gets to confirm that a cancelled command is gone."""

_LEFTOVER_NAMES = 64
_LEFTOVER_BYTES = 64


class _Kept:
    """The first `limit_bytes` of a stream, and the count of the rest."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.content = bytearray()
        self.dropped_bytes = 0

    def add(self, content: bytes) -> None:
        room = max(self._limit_bytes - len(self.content), 0)
        self.content += content[:room]
        self.dropped_bytes += max(len(content) - room, 0)


class Running:
    """An execution under way."""

    def __init__(self, channel: Channel, request_id: int, execution: Execution) -> None:
        """Run `execution` under `request_id`, which answers nothing else."""
        self._channel = channel
        self._request_id = request_id
        self._execution = execution
        self._stdin = memoryview(execution.stdin)
        self._window_bytes = wire.STDIN_WINDOW_BYTES
        self._kept = {
            1: _Kept(execution.output_limit_bytes),
            2: _Kept(execution.output_limit_bytes),
        }

    async def run(self, *, grace_s: float = GRACE_S) -> GuestReport:
        """Return how it ended; on cancellation, see that it is killed.

        Raises:
            GuestError: the guest did not take the command.
            GuestLost: no end within the time limit and the grace, or the guest is gone.
            WireError: the guest broke the protocol.
        """
        started_s = anyio.current_time()
        limit_s = self._execution.timeout_s + grace_s
        try:
            with anyio.fail_after(limit_s):
                await self._channel.send(self._request_id, _request(self._execution))
                await self._feed()
                end = await self._follow()
        except TimeoutError:
            raise self._channel.give_up(
                GuestLost(f"the guest did not end a command within {limit_s:g} s")
            ) from None
        except anyio.get_cancelled_exc_class():
            await self._kill()
            raise
        return self._report(end, anyio.current_time() - started_s)

    async def _feed(self) -> None:
        while self._stdin and self._window_bytes:
            part = self._stdin[: min(self._window_bytes, wire.CHUNK_BYTES)]
            self._stdin = self._stdin[len(part) :]
            self._window_bytes -= len(part)
            message = wire.Stdin(bytes(part), last=not self._stdin)
            await self._channel.send(self._request_id, message)

    async def _follow(self) -> wire.Finished:
        while True:
            answered_id, message = await self._channel.receive()
            if answered_id != self._request_id:
                raise self._odd("the guest answered a request never made")
            match message:
                case wire.Output(stream=stream, content=content):
                    self._kept[stream].add(content)
                case wire.StdinTaken(count=count):
                    self._window_bytes += count
                    if self._window_bytes > wire.STDIN_WINDOW_BYTES:
                        raise self._odd("the guest took input that was never sent")
                    await self._feed()
                case wire.Finished():
                    return message
                case wire.Failed(reason=reason):
                    raise GuestError(f"the guest could not run the command: {reason}")
                case _:
                    raise self._odd("the guest gave an answer to something else")

    async def _kill(self) -> None:
        with anyio.move_on_after(_KILL_S, shield=True):
            try:
                self._stdin = memoryview(b"")
                await self._channel.send(self._request_id, wire.Kill())
                await self._follow()
            except GuestError:
                return
            return
        self._channel.give_up(GuestLost("the guest did not confirm that a command was killed"))

    def _odd(self, what: str) -> GuestError:
        return self._channel.give_up(WireError(what))

    def _report(self, end: wire.Finished, duration_s: float) -> GuestReport:
        ended = Ended(end.ended)
        exit_code = end.exit_code
        if ended is Ended.TIMED_OUT:
            exit_code = 124
        elif ended is Ended.SIGNALED:
            exit_code = 128 + end.signal
        return GuestReport(
            ended=ended,
            exit_code=exit_code,
            signal=end.signal or None,
            stdout=bytes(self._kept[1].content),
            stderr=bytes(self._kept[2].content),
            stdout_dropped_bytes=self._kept[1].dropped_bytes,
            stderr_dropped_bytes=self._kept[2].dropped_bytes,
            leftover=tuple(_name(comm) for comm in end.leftover[:_LEFTOVER_NAMES]),
            duration_s=duration_s,
        )


def _name(comm: bytes) -> str:
    return comm[:_LEFTOVER_BYTES].decode("utf-8", "backslashreplace")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _request(execution: Execution) -> wire.Execute:
    try:
        return wire.Execute(
            argv=tuple(_bytes(argument) for argument in execution.argv),
            code=None if execution.python is None else _bytes(execution.python),
            cwd=_bytes(execution.cwd),
            env=tuple(_bytes(f"{name}={value}") for name, value in execution.env.items()),
            timeout_ms=max(int(execution.timeout_s * 1000), 1),
            has_stdin=bool(execution.stdin),
        )
    except ValueError as error:
        raise GuestError(f"this cannot be run in a guest: {error}") from error
