"""The desk of this process: sessions ask on it, screens attach to it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import anyio

from luminaguard.approval.approvers import utc_now
from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.book import Book, Moment
from luminaguard.approval.desk.desk import Answer, Desk, Pending
from luminaguard.domain.approval import ApprovalRequest, Decision
from luminaguard.errors import ApprovalError

LOOK_AGAIN_S = 1.0
"""The wall clock is read at least this often: it may have been set while nothing else happened."""


class HeldDesk:
    """Holds the questions of all sessions that ask on it, at once, each until its own end.

    Used on one event loop. Screens come and go by `attach`.
    """

    def __init__(
        self,
        *,
        approver: str,
        now: Callable[[], datetime] = utc_now,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open an empty desk.

        Args:
            approver: The approver's name in decisions: "queue", "tui", ...
            now: Wall clock, UTC.
            steady: Seconds on a clock that cannot be set.
        """
        self._book = Book(approver=approver)
        self._now = now
        self._steady = steady
        self._changed = anyio.Event()

    @property
    def approver(self) -> str:
        """The approver's name in decisions."""
        return self._book.approver

    @property
    def version(self) -> int:
        """Number of the present state of what is open."""
        return self._book.version

    async def ask(self, request: ApprovalRequest, card: DiffCard, *, origin: str) -> Decision:
        """Hold a question open until it ends, and return how.

        Cancelling withdraws it: nobody can answer it from then on.

        Raises:
            ApprovalError: the card is another request's, or the request was asked before.
        """
        if card.request != request:
            raise ApprovalError("the card belongs to another request")
        digest = request.digest
        self._book.enter(card, origin=origin, at=self._moment())
        self._tell()
        try:
            while (decision := self._book.decision(digest)) is None:
                await self._until_change(digest)
            return decision
        finally:
            self._book.withdraw(digest, self._moment())
            self._tell()

    def attach(self, *, proof: str) -> Desk:
        """Return the desk as one screen sees it.

        Args:
            proof: How the human at that screen is known: "controlling terminal, uid 1000", ...
        """
        return _Screen(self, proof)

    def pending(self) -> tuple[Pending, ...]:
        """Return what is open, oldest first."""
        self._expire()
        return self._book.pending()

    async def wait_for_change(self, seen: int) -> int:
        """Wait until the version is another than `seen`, and return it."""
        while self._book.version == seen:
            await self._changed.wait()
        return self._book.version

    def decide(self, request_digest: str, answer: Answer, *, proof: str) -> Decision:
        """End a request by an answer; at once, so of two deciders one is first.

        Raises:
            AnswerRefused: see `Desk.answer`.
        """
        try:
            return self._book.answer(request_digest, answer, proof=proof, at=self._moment())
        finally:
            self._tell()

    async def _until_change(self, digest: str) -> None:
        changed = self._changed
        with anyio.move_on_after(min(self._book.left_s(digest, self._moment()), LOOK_AGAIN_S)):
            await changed.wait()
        self._expire()

    def _expire(self) -> None:
        before = self._book.version
        self._book.expire(self._moment())
        if self._book.version != before:
            self._tell()

    def _tell(self) -> None:
        """Wake everybody who waits; they look for themselves what is new."""
        self._changed.set()
        self._changed = anyio.Event()

    def _moment(self) -> Moment:
        return Moment(self._now(), self._steady())


@dataclass(frozen=True, slots=True)
class _Screen:
    """A desk with the proof of the human at one screen. Implements `Desk`."""

    held: HeldDesk
    proof: str

    def pending(self) -> tuple[Pending, ...]:
        return self.held.pending()

    async def wait_for_change(self, seen: int) -> int:
        return await self.held.wait_for_change(seen)

    async def answer(self, request_digest: str, answer: Answer) -> Decision:
        return self.held.decide(request_digest, answer, proof=self.proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskApprover:
    """The approver that asks whoever attaches to a desk; it shows nothing itself."""

    desk: HeldDesk
    origin: str

    @property
    def name(self) -> str:
        """Name in the record: the desk's."""
        return self.desk.approver

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Put the question on the desk, and return its end."""
        return await self.desk.ask(request, card, origin=self.origin)
