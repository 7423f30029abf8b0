"""From a key that counts to an answer on the desk, by way of the dialogs that it wants."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from luminaguard.approval.desk.desk import Answer
from luminaguard.approval.desk.refusals import NotProven
from luminaguard.approval.look import Look
from luminaguard.domain.approval import End
from luminaguard.domain.verdict import Risk
from luminaguard.errors import LuminaGuardError
from luminaguard.tui.board import Entry
from luminaguard.tui.dialogs import Dialog, GrantDialog, ReasonDialog, SecretDialog, WordDialog

APPROVED = "approved on the screen"


class Asker(Protocol):
    """What answering needs of the app."""

    @property
    def look(self) -> Look:
        """How the terminal shows things."""
        ...

    def open_entry(self, digest: str) -> Entry | None:
        """Return the entry of a request that is still open, by the clock too."""
        ...

    def ask(self, dialog: Dialog[Any], act: Callable[[Any], None]) -> None:
        """Open a dialog, and act on what it hands back; nothing after Esc."""
        ...

    def send(self, entry: Entry, answer: Answer) -> None:
        """Begin to hand an answer to the entry's desk; ends in `Answering.deliver`."""
        ...

    @property
    def can_prove(self) -> bool:
        """Whether an approver secret can be taken here."""
        ...

    def prove(self, secret: str, entry: Entry, answer: Answer) -> None:
        """Begin to unlock the approver secret; ends in `Answering.again`."""
        ...

    def was_seen(self, entry: Entry) -> bool:
        """Return whether all of the entry's card was on the screen."""
        ...

    def tell(self, text: str) -> None:
        """Show a notice."""
        ...


@dataclass(slots=True)
class Answering:
    """Answers requests, each at most once at a time."""

    asker: Asker
    sending: set[str] = field(default_factory=set[str])
    """Digests of requests whose answer is on its way."""

    def key(self, key: str, entry: Entry) -> None:
        """Act on a key that counts, about this entry's card."""
        offers = entry.pending.card.offers
        if key == "a":
            self.approve(entry)
        elif key == "r":
            self.asker.ask(
                ReasonDialog(self.asker.look, entry.digest),
                lambda reason: self._send(entry, Answer(end=End.REJECTED, reason=reason)),
            )
        elif key == "g" and offers:
            dialog = GrantDialog(self.asker.look, entry.digest, offers)
            self.asker.ask(dialog, lambda offer: self.approve(entry, grant=offer))
        elif key == "g":
            self.asker.tell("this card offers nothing to be remembered")

    def approve(self, entry: Entry, *, grant: str = "") -> None:
        """Approve; a critical effect only after all of it was seen and a word was typed."""
        answer = Answer(end=End.APPROVED, reason=APPROVED, grant=grant)
        if entry.pending.card.risk is not Risk.CRITICAL:
            self._send(entry, answer)
        elif not self.asker.was_seen(entry):
            self.asker.tell("critical, and not all of it was on the screen: go to its end, or v")
        else:
            dialog = WordDialog(self.asker.look, entry.digest)
            self.asker.ask(dialog, lambda _: self._send(entry, answer))

    def again(self, entry: Entry, answer: Answer) -> None:
        """Hand an answer over once more, now that it can be proved."""
        self._send(entry, answer)

    def _send(self, entry: Entry, answer: Answer) -> None:
        is_open = self.asker.open_entry(entry.digest) is entry
        if is_open and entry.digest not in self.sending:
            self.sending.add(entry.digest)
            self.asker.send(entry, answer)

    async def deliver(self, entry: Entry, answer: Answer) -> bool:
        """Hand an answer to the desk, tell what became of it, and return whether it was taken."""
        tool = entry.pending.card.call.tool
        try:
            decision = await entry.desk.answer(entry.digest, answer)
        except NotProven as error:
            if self.asker.can_prove:
                self.asker.ask(
                    SecretDialog(self.asker.look, entry.digest, str(error)),
                    lambda secret: self.asker.prove(secret, entry, answer),
                )
            else:
                self.asker.tell(f"{tool}: not taken: {error}")
            return False
        except LuminaGuardError as error:
            self.asker.tell(f"{tool}: not taken: {error}")
            return False
        finally:
            self.sending.discard(entry.digest)
        self.asker.tell(f"{tool}: {decision.end.value}")
        return True
