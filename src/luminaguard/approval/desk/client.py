"""The desks of other processes of this user, each as a `Desk`.

Cards are fetched once and checked: what a screen shows belongs to the request that it answers.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import anyio
from anyio import to_thread

from luminaguard.approval.card import DiffCard
from luminaguard.approval.codec.card import LONGEST_CARD_BYTES, card_from_wire
from luminaguard.approval.codec.fields import Fields, Malformed
from luminaguard.approval.desk import place
from luminaguard.approval.desk.desk import Answer, Pending
from luminaguard.approval.desk.frames import Frames
from luminaguard.approval.desk.messages import (
    LONGEST_LOOK_S,
    Look,
    Op,
    OpenLine,
    answer_json,
    decision_from,
    look_from,
    raise_error,
)
from luminaguard.approval.desk.refusals import (
    AnswerRefused,
    DeskLost,
    SecretWanted,
    UnknownRequest,
)
from luminaguard.approval.desk.secret import Prover, statement
from luminaguard.domain.approval import Decision
from luminaguard.domain.calls import JsonValue

CONNECT_S = 5.0
REPLY_S = 30.0
_AGAIN_S = 0.02
UNCHANGED_S = 1.0
"""A desk on which nothing changed is not asked again before this."""


@dataclass(slots=True)
class Identity:
    """What the human at a screen has proved so far; shared by all desks that the screen shows.

    A screen that gets `SecretWanted` asks for the secret, unlocks it (`secret.unlock`), puts the
    prover here, and answers again.
    """

    prover: Prover | None = None


@dataclass(slots=True, kw_only=True)
class RemoteDesk:
    """The desk of another process. Implements `Desk`."""

    runtime_dir: Path
    name: str
    """Of its socket."""
    identity: Identity = field(default_factory=Identity)
    unshown: dict[str, str] = field(default_factory=dict[str, str], init=False)
    """Open requests whose card cannot be had here: digest → why. Nobody can approve them here."""
    _pending: tuple[Pending, ...] = field(default=(), init=False)

    @property
    def pid(self) -> int:
        """Process that asks."""
        return place.pid_of(self.name)

    def pending(self) -> tuple[Pending, ...]:
        """Return what was open at the last `wait_for_change`, oldest first."""
        return self._pending

    async def wait_for_change(self, seen: int) -> int:
        """Wait until something is other than at version `seen`, fetch it, return its version."""
        while True:
            asked_at = anyio.current_time()
            look = await self._look(seen)
            if look.version == seen:  # at once where too many wait: ask again, but not at once
                await anyio.sleep_until(asked_at + UNCHANGED_S)
            else:
                known = {item.digest: item for item in self._pending}
                self.unshown.clear()
                found = [known.get(line.digest) or await self._fetch(line) for line in look.lines]
                self._pending = tuple(item for item in found if item is not None)
                return look.version

    async def answer(self, request_digest: str, answer: Answer) -> Decision:
        """Decide one request; see `Desk.answer`."""
        async with self._asked(answer_json(request_digest, answer)) as (frames, first):
            asks = first.has("challenge")
            last = await self._prove(frames, first, request_digest, answer) if asks else first
            decision = decision_from(last)
        if (decision.request_digest, decision.end) != (request_digest, answer.end):
            raise Malformed("the desk tells of another decision than was made")
        return decision

    async def _prove(
        self, frames: Frames, reply: Fields, request_digest: str, answer: Answer
    ) -> Fields:
        prover = self.identity.prover
        if prover is None:
            raise SecretWanted("approving from another process takes the approver secret")
        challenge = reply.text("challenge", longest=100)
        signed = prover.sign(statement(request_digest, answer, challenge))
        return await _reply(frames, {"signature": signed.hex()})

    async def _look(self, seen: int) -> Look:
        question = {"op": Op.LOOK, "seen": seen, "wait_s": LONGEST_LOOK_S}
        async with self._asked(question) as (_, reply):
            return look_from(reply)
        raise _no_reply()

    async def _fetch(self, line: OpenLine) -> Pending | None:
        """Return an open request with its card; None when it has ended, or is too large to send."""
        try:
            async with self._asked({"op": Op.CARD, "digest": line.digest}) as (frames, reply):
                size = reply.integer("bytes", high=LONGEST_CARD_BYTES)
                with anyio.move_on_after(REPLY_S):
                    content = await frames.receive(longest=size)
                    card = await to_thread.run_sync(card_from_wire, content)
                    return _pending(line, card)
        except UnknownRequest:
            return None
        except AnswerRefused as refused:
            self.unshown[line.digest] = str(refused)
            return None
        raise _no_reply()

    @asynccontextmanager
    async def _asked(
        self, question: Mapping[str, JsonValue]
    ) -> AsyncGenerator[tuple[Frames, Fields]]:
        """Put a question, and give its first reply."""
        with await self._connected() as connection:
            frames = Frames(connection)
            yield frames, await _reply(frames, question)

    async def _connected(self) -> socket:
        """Connect, waiting a little where too many do so at once.

        Raises:
            DeskLost: nobody listens any more, or nobody accepts.
        """
        with anyio.move_on_after(CONNECT_S):
            while True:
                try:
                    with place.opened(self.runtime_dir, make=False) as desks:
                        if desks is None:
                            raise _gone()
                        return desks.connect(self.name)
                except BlockingIOError:
                    await anyio.sleep(_AGAIN_S)
                except OSError as error:
                    raise _gone() from error
        raise _no_reply()


def find_desks(runtime_dir: Path, identity: Identity | None = None) -> tuple[RemoteDesk, ...]:
    """Return the desks of all living processes of this user. Blocking.

    Sockets of processes that are gone are removed.

    Args:
        runtime_dir: The settings' runtime directory.
        identity: What the screen has proved, shared by all desks. Default: nothing yet.

    Raises:
        ApprovalError: others can enter the directory of desks.
    """
    shared = identity or Identity()
    with place.opened(runtime_dir, make=False) as desks:
        if desks is None:
            return ()
        desks.sweep()
        return tuple(
            RemoteDesk(runtime_dir=runtime_dir, name=name, identity=shared)
            for name in desks.names()
        )


def _pending(line: OpenLine, card: DiffCard) -> Pending:
    if card.request.digest != line.digest:
        raise Malformed("the card is of another request than was asked for")
    return Pending(
        request=card.request,
        card=card,
        session_id=card.request.session_id,
        origin=line.origin,
        opened_at=line.opened_at,
    )


async def _reply(frames: Frames, question: Mapping[str, JsonValue]) -> Fields:
    """Send a question, and return the reply.

    Raises:
        ApprovalError: the reply is an error, is malformed, or does not come.
    """
    with anyio.move_on_after(LONGEST_LOOK_S + REPLY_S):
        await frames.send_fields(question)
        reply = await frames.receive_fields()
        raise_error(reply)
        return reply
    raise _no_reply()


def _gone() -> DeskLost:
    return DeskLost("the process that asks is gone: what it asked is no longer open")


def _no_reply() -> DeskLost:
    return DeskLost(
        "the process that asks does not reply",
        hint="`luminaguard audit list` tells whether the request has ended",
    )
