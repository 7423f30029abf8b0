"""A desk with open questions, served to this process's own clients as to any other's."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.admission import Admission
from luminaguard.approval.desk.client import Identity, RemoteDesk, find_desks
from luminaguard.approval.desk.desk import UNSEEN, Pending
from luminaguard.approval.desk.held import HeldDesk
from luminaguard.approval.desk.secret import Enrollment, Prover, enroll, unlock
from luminaguard.approval.desk.server import served
from luminaguard.domain.approval import Decision, End
from luminaguard.testing.cards import text_card

SECRET = "correct horse battery"


@cache
def known_secret() -> tuple[Enrollment, Prover]:
    """Return an enrolled secret and what signs with it; made once, since that takes a while."""
    with TemporaryDirectory() as place:
        enrollment = enroll(Path(place), SECRET, at=datetime.now(UTC))
    return enrollment, unlock(enrollment, SECRET)


def numbered_card(number: int, open_s: float = 300.0) -> DiffCard:
    """Return a card with a request of its own."""
    card = text_card({f"file{number}.txt": ("old", f"new {number}")})
    expires_at = card.request.requested_at + timedelta(seconds=open_s)
    request = replace(card.request, nonce=f"nonce-{number}", expires_at=expires_at)
    return replace(card, request=request)


@dataclass
class OpenDesk:
    """A desk, where it is served, and how its questions ended."""

    held: HeldDesk
    runtime_dir: Path
    socket: Path
    ends: dict[str, Decision] = field(default_factory=dict[str, Decision])

    def client(self, prover: Prover | None = None) -> RemoteDesk:
        (desk,) = find_desks(self.runtime_dir, Identity(prover))
        return desk

    async def seen(self, prover: Prover | None = None) -> tuple[RemoteDesk, tuple[Pending, ...]]:
        """Return a new client that has looked once."""
        desk = self.client(prover)
        await desk.wait_for_change(UNSEEN)
        return desk, desk.pending()

    def end_of(self, card: DiffCard) -> End | None:
        decision = self.ends.get(card.request.digest)
        return decision.end if decision else None


@asynccontextmanager
async def asking_desk(
    runtime_dir: Path, *cards: DiffCard, admission: Admission | None = None
) -> AsyncGenerator[OpenDesk]:
    """Serve a desk on which somebody asks about these cards; all ends by cancellation."""
    held = HeldDesk(approver="queue")
    rule = admission or Admission(enrollment=known_secret()[0])
    with anyio.fail_after(20):
        async with (
            served(held, runtime_dir=runtime_dir, admission=rule) as socket,
            anyio.create_task_group() as tasks,
        ):
            desk = OpenDesk(held, runtime_dir, socket)

            async def ask(card: DiffCard) -> None:
                decision = await held.ask(card.request, card, origin="a test")
                desk.ends[card.request.digest] = decision

            for card in cards:
                tasks.start_soon(ask, card)
            while len(held.pending()) < len(cards):
                await anyio.lowlevel.checkpoint()
            yield desk
            tasks.cancel_scope.cancel()


async def until_ended(desk: OpenDesk, card: DiffCard) -> Decision:
    """Wait until whoever asked was told."""
    while card.request.digest not in desk.ends:
        await anyio.lowlevel.checkpoint()
    return desk.ends[card.request.digest]
