"""Typed operations on a guest, over its channel: what `MicroVM` offers, without the machine.

Conversations are strictly one after the other. Every wait is bounded by a host clock: a guest that
stops answering is lost, whatever it was doing.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio

from luminaguard.domain.execution import Ended, Execution, GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.errors import GuestError, GuestLost, VmStateError, WireError
from luminaguard.vm import channel as wire
from luminaguard.vm.channel import Channel
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.records import as_record
from luminaguard.vm.running import GRACE_S, Running

_ANSWER_S = 30.0
"""Longest wait for the answer to a request that starts no command."""

_HARVEST_S = 300.0
"""Longest that a guest may keep the host waiting for one whole harvest, all waits added up."""

_EXERCISES = (
    Execution(argv=("true",), timeout_s=60),
    Execution(argv=("sh", "-c", "echo warm | cat; ls / >/dev/null"), timeout_s=60),
    Execution(python="import os, tempfile; print(os.getcwd())", timeout_s=60),
)
"""Run once before a machine is saved or handed out, so that what they touch is in memory."""

_Answer = TypeVar("_Answer", bound=wire.Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """What a guest says of itself: claims, fit for diagnosis only."""

    python: str
    kernel: str


class GuestClient:
    """One guest's operations. Owns the channel."""

    def __init__(self, channel: Channel, *, grace_s: float = GRACE_S) -> None:
        """Talk over `channel`; the guest's agent need not be up yet.

        `grace_s`: what the guest gets on top of a command's time limit, to kill it and tell.
        """
        self._channel = channel
        self._grace_s = grace_s
        self._last_id = 0
        self._busy = False
        self._reseeded = False

    def close(self) -> None:
        """Close the channel. Idempotent."""
        self._channel.close()

    async def hello(self, timeout_s: float) -> GuestFacts:
        """Wait until the agent answers, and compare versions.

        The request waits in the channel if the guest is still booting.

        Raises:
            GuestLost: no answer within `timeout_s`, or the machine is gone.
            WireError: the agent speaks another version, or not our protocol at all.
        """
        nonce = secrets.token_bytes(16)
        request = wire.Hello(wire.VERSION, nonce)
        welcome = await self._ask(request, wire.Welcome, timeout_s=timeout_s)
        if welcome.version != wire.VERSION or welcome.nonce != nonce:
            raise self._channel.give_up(
                WireError(
                    f"the guest agent answers for version {welcome.version} of the wire, "
                    f"not {wire.VERSION}",
                    hint="delete the cached templates, so that they are built anew",
                )
            )
        return GuestFacts(python=welcome.python, kernel=welcome.kernel)

    async def ping(self, timeout_s: float = _ANSWER_S) -> None:
        """Return once the agent answered, and stands ready to start a command at once."""
        await self._ask(wire.Ping(), wire.Done, timeout_s=timeout_s)

    async def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Give the guest fresh randomness and the time; allows commands from then on."""
        if len(entropy) < 32:
            raise ValueError("at least 32 bytes of entropy")
        await self._ask(wire.Reseed(entropy, wall_clock_ns), wire.Done)
        self._reseeded = True

    async def mount(self, mount: GuestMount) -> None:
        """Put scratch, workspace image and overlay together at the mount's path.

        Raises:
            GuestError: the guest could not, and says why.
        """
        request = wire.Mount(mount.path.encode("utf-8", "surrogateescape"), mount.filesystem)
        await self._ask(request, wire.Done)

    async def unmount(self) -> None:
        """Take the workspace apart again, whatever was done in it.

        Raises:
            GuestError: the guest could not, and says why.
        """
        await self._ask(wire.Unmount(), wire.Done)

    async def exercise(self) -> None:
        """Run a few commands of our own, so that what they need is warm.

        Raises:
            GuestError: one of them did not end well; the machine is not fit for use.
        """
        for execution in _EXERCISES:
            report = await self._run(execution)
            if report.ended is not Ended.EXITED or report.exit_code != 0:
                raise GuestError(
                    f"the guest cannot run {execution.argv or 'Python'}: exit {report.exit_code}",
                    hint="rebuild the image: luminaguard image build",
                    stderr=report.stderr[-2000:],
                )
        await self.ping()

    async def execute(self, execution: Execution) -> GuestReport:
        """Run a command to its end, then kill whatever it left.

        Cancellation kills the command; if the guest does not confirm that in time, it is lost.

        Raises:
            VmStateError: the guest was not reseeded yet: its random numbers are another clone's.
            GuestLost: no end within the execution's time limit and a grace period.
        """
        if not self._reseeded:
            raise VmStateError("the guest must be reseeded before it runs anything")
        return await self._run(execution)

    async def _run(self, execution: Execution) -> GuestReport:
        request_id = self._begin()
        try:
            return await Running(self._channel, request_id, execution).run(grace_s=self._grace_s)
        finally:
            self._busy = False

    async def harvest(self, *, skip: Sequence[bytes] = ()) -> AsyncIterator[UpperRecord]:
        """Kill what still runs, then stream the overlay's upper layer.

        A harvest that is not read to its end leaves the channel unusable.

        Raises:
            GuestError: the guest could not, and says why.
            WireError: the stream breaks the protocol, or was cut.
        """
        request_id = self._begin()
        whole = False
        count = 0
        left_s = _HARVEST_S
        try:
            await self._channel.send(request_id, wire.Harvest(tuple(skip)))
            while True:
                asked_s = anyio.current_time()
                message = await self._next_record(request_id, min(left_s, _ANSWER_S))
                left_s -= anyio.current_time() - asked_s
                record = as_record(message)
                if record is None:
                    whole = True
                    break
                yield record
                count += 1
        finally:
            self._busy = False
            if not whole:
                self._channel.give_up(GuestLost("a harvest of this guest was left unread"))
        if self._expect(message, wire.HarvestEnd).records != count:
            raise self._channel.give_up(WireError("the guest's harvest was cut"))

    async def _next_record(self, request_id: int, wait_s: float) -> wire.Message:
        try:
            with anyio.fail_after(wait_s):
                return await self._answer(request_id)
        except TimeoutError:
            raise GuestLost("the guest stopped in the middle of a harvest") from None

    def _begin(self) -> int:
        if self._busy:
            raise VmStateError("the guest is busy with another request")
        self._busy = True
        self._last_id += 1
        return self._last_id

    async def _ask(
        self, request: wire.Message, expected: type[_Answer], *, timeout_s: float = _ANSWER_S
    ) -> _Answer:
        request_id = self._begin()
        answered = False
        try:
            with anyio.fail_after(timeout_s):
                await self._channel.send(request_id, request)
                answer = await self._answer(request_id)
            answered = True
        except TimeoutError:
            raise GuestLost(f"the guest gave no answer within {timeout_s:g} s") from None
        finally:
            self._busy = False
            if not answered:
                self._channel.give_up(GuestLost("an answer of this guest was not waited for"))
        return self._expect(answer, expected)

    def _expect(self, answer: wire.Message, expected: type[_Answer]) -> _Answer:
        if isinstance(answer, expected):
            return answer
        if isinstance(answer, wire.Failed):
            raise GuestError(f"the guest could not do it: {answer.reason}")
        raise self._channel.give_up(WireError("the guest gave an answer to something else"))

    async def _answer(self, request_id: int) -> wire.Message:
        answered_id, message = await self._channel.receive()
        if answered_id != request_id:
            raise self._channel.give_up(WireError("the guest answered a request never made"))
        return message
