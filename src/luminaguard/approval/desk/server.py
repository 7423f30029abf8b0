"""Serves a desk to other processes of the same user, over a private socket.

One connection carries one question. All that comes in is taken for hostile: who connects is asked
of the kernel, frames are bounded, every wait has an end, and there are only so many connections at
once. Whatever goes wrong with a connection, nothing is decided by it.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from luminaguard.approval.card import DiffCard
from luminaguard.approval.codec.card import card_to_wire
from luminaguard.approval.codec.fields import Fields, Malformed
from luminaguard.approval.desk import place
from luminaguard.approval.desk.admission import Admission
from luminaguard.approval.desk.frames import Frames
from luminaguard.approval.desk.held import HeldDesk
from luminaguard.approval.desk.messages import (
    LONGEST_LOOK_S,
    Look,
    Op,
    OpenLine,
    answer_from,
    decision_json,
    error_json,
)
from luminaguard.approval.desk.refusals import DeskLost, NotProven, UnknownRequest
from luminaguard.errors import ApprovalError
from luminaguard.vm.linux import user_id

MOST_CONNECTIONS = 64
MOST_WATCHERS = 32
"""Of these, screens that wait for a change; further ones are answered at once."""
ENCODED_AT_ONCE = 2
"""Cards made into bytes at the same time: screens do not take all threads of the process."""
LONGEST_QUESTION_BYTES = 1 << 16
QUESTION_S = 5.0
"""Given to a screen to say what it wants, and to sign."""
REPLY_S = 30.0
"""Given to a screen to take a reply."""
_PAUSE_S = 0.1


@asynccontextmanager
async def served(
    desk: HeldDesk,
    *,
    runtime_dir: Path,
    admission: Admission,
    notice: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[Path]:
    """Serve a desk while the body runs; yields its socket's path.

    Args:
        desk: Its questions are shown, and answers to them taken.
        runtime_dir: Where screens look for desks.
        admission: Says which answers count as the user's.
        notice: Told when somebody tried to approve with a wrong secret.

    Raises:
        ApprovalError: no private socket can be made there.
    """
    with place.opened(runtime_dir, make=True) as desks:
        if desks is None:
            raise ApprovalError(f"there is no directory for desks in {runtime_dir}")
        try:
            listener, name = desks.listen()
        except OSError as error:
            raise ApprovalError(f"the desk cannot be opened to screens: {error}") from error
        try:
            await to_thread.run_sync(desks.sweep)
            server = _Server(desk, admission, notice)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(server.accept, listener, tasks)
                    yield desks.path / name
                    tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:  # the body's own error: serving raises none
                raise group.exceptions[0] from group
        finally:
            desks.remove(name)
            listener.close()


@dataclass(slots=True)
class _Server:
    desk: HeldDesk
    admission: Admission
    notice: Callable[[str], None]
    _encoding: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(ENCODED_AT_ONCE)
    )
    _silent: OrderedDict[object, anyio.CancelScope] = field(
        default_factory=OrderedDict[object, anyio.CancelScope]
    )
    """Connections that have not said yet what they want, oldest first."""
    _connections: int = 0
    _watchers: int = 0

    async def accept(self, listener: socket, tasks: TaskGroup) -> None:
        """Take connections until cancelled."""
        while True:
            await anyio.wait_readable(listener)
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError:  # no descriptors left, say: those that are open will end
                await anyio.sleep(_PAUSE_S)
                continue
            tasks.start_soon(self._serve, connection)

    async def _serve(self, connection: socket) -> None:
        """Answer one connection. Nothing that happens here ends anything else."""
        with connection:
            if not self._is_welcome(connection):
                return
            self._connections += 1
            try:
                connection.settimeout(0)
                await self._converse(Frames(connection), place.peer_of(connection))
            except Exception:  # noqa: BLE001 - whatever a screen causes, it ends but its connection
                return
            finally:
                self._connections -= 1

    def _is_welcome(self, connection: socket) -> bool:
        """Refuse other users, and make room by letting go whoever has said nothing for longest."""
        try:
            if place.peer_of(connection)[1] != user_id():
                return False
        except (ApprovalError, OSError):
            return False
        if self._connections >= MOST_CONNECTIONS:
            if not self._silent:
                return False
            self._silent.popitem(last=False)[1].cancel()
        return True

    async def _converse(self, frames: Frames, peer: tuple[int, int]) -> None:
        fields = await self._question(frames)
        if fields is None:
            return
        try:
            op = fields.choice("op", Op)
            if op is Op.LOOK:
                await self._look(frames, fields)
            elif op is Op.CARD:
                await self._card(frames, fields)
            else:
                await self._answer(frames, fields, peer)
        except DeskLost:
            raise
        except ApprovalError as error:
            with anyio.move_on_after(REPLY_S):
                await frames.send_fields(error_json(error))

    async def _question(self, frames: Frames) -> Fields | None:
        mark = object()
        fields: Fields | None = None
        with anyio.move_on_after(QUESTION_S) as scope:
            self._silent[mark] = scope
            try:
                fields = await frames.receive_fields(longest=LONGEST_QUESTION_BYTES)
            except Malformed as error:
                await frames.send_fields(error_json(error))
            finally:
                self._silent.pop(mark, None)
        return fields

    async def _look(self, frames: Frames, fields: Fields) -> None:
        seen = fields.integer("seen", low=-1)
        wait_s = min(fields.number("wait_s"), LONGEST_LOOK_S)
        if self._watchers < MOST_WATCHERS:
            self._watchers += 1
            try:
                with anyio.move_on_after(wait_s):
                    await self.desk.wait_for_change(seen)
            finally:
                self._watchers -= 1
        lines = tuple(
            OpenLine(digest=item.digest, origin=item.origin, opened_at=item.opened_at)
            for item in self.desk.pending()
        )
        look = Look(version=self.desk.version, approver=self.desk.approver, lines=lines)
        with anyio.move_on_after(REPLY_S):
            await frames.send_fields(look.as_json())

    async def _card(self, frames: Frames, fields: Fields) -> None:
        card = self._shown(fields.digest("digest"))
        content = await to_thread.run_sync(card_to_wire, card, limiter=self._encoding)
        with anyio.move_on_after(REPLY_S):
            await frames.send_fields({"bytes": len(content)})
            await frames.send(content)

    def _shown(self, digest: str) -> DiffCard:
        for item in self.desk.pending():
            if item.digest == digest:
                return item.card
        raise UnknownRequest("there is no such request open here")

    async def _answer(self, frames: Frames, fields: Fields, peer: tuple[int, int]) -> None:
        digest, answer = fields.digest("digest"), answer_from(fields)
        challenge = self.admission.challenge(answer)
        signature = await _signature(frames, challenge) if challenge else b""
        try:
            proof = self.admission.proof(digest, answer, challenge, signature)
        except NotProven:
            with suppress(OSError):
                self.notice(f"a wrong approver secret was given by {_who(peer)}: nothing happened")
            raise
        decision = self.desk.decide(digest, answer, proof=f"{proof}; {_who(peer)}")
        with anyio.move_on_after(REPLY_S):
            await frames.send_fields(decision_json(decision))


async def _signature(frames: Frames, challenge: str) -> bytes:
    """Have a challenge signed.

    Raises:
        DeskLost: the screen went away.
        Malformed: no signature came, or none in time.
    """
    text = ""
    with anyio.move_on_after(QUESTION_S):
        await frames.send_fields({"challenge": challenge})
        reply = await frames.receive_fields(longest=LONGEST_QUESTION_BYTES)
        text = reply.text("signature", longest=256)
    if not text:
        raise Malformed("no signature came")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Malformed("the signature is not hexadecimal") from error


def _who(peer: tuple[int, int]) -> str:
    pid, uid = peer
    return f"process {pid} of uid {uid}" if pid else f"a process of uid {uid}"
