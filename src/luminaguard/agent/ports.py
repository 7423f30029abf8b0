"""What the loop needs of the house: somebody who handles calls, records, and looks on."""

from typing import Protocol

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.outcome import Outcome
from luminaguard.llm.model import Reply


class Handler(Protocol):
    """Whatever handles a call: the guard. The loop has no other way to act."""

    async def handle(self, call: ToolCall) -> Outcome:
        """Take a call to its end."""
        ...


class Ledger(Protocol):
    """Records what is no call: replies with their cost, and results that were read on."""

    async def replied(self, model: str, reply: Reply, seconds: float) -> None:
        """Record that a model, named as the user named it, answered, and what that took."""
        ...

    async def reread(self, call: ToolCall) -> None:
        """Record that a model reads on in a result that it was given."""
        ...


class Observer(Protocol):
    """Sees the loop go by; a screen or a log."""

    def saying(self, piece: str) -> None:
        """Take note of a piece of the model's text, as it arrives."""
        ...

    def said(self, reply: Reply) -> None:
        """Take note of a whole reply."""
        ...

    def calling(self, call: ToolCall) -> None:
        """Take note of a call before the guard sees it."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """Take note of a call's end."""
        ...
