"""Who decides: the port that every way of asking implements."""

from typing import Protocol

from luminaguard.approval.card import DiffCard
from luminaguard.domain.approval import ApprovalRequest, Decision

INTERRUPTED = "interrupted"
"""Reason of a FAILED decision when the human pressed Ctrl-C: the whole run should end."""


class Approver(Protocol):
    """Answers one request at a time.

    Invariants:
        - Only APPROVED is a yes. No answer is EXPIRED, a human's no is REJECTED, everything that
          went wrong is FAILED; after each of these nothing happens.
        - The decision names this approver, says how it proved itself, and carries the digest of
          the very request that was asked.
        - `decide` returns or raises soon after the request expires, and when it is cancelled; it
          leaves whatever it asked on (a terminal, say) as it found it.
        - It decides on the card, and changes nothing else.
    """

    @property
    def name(self) -> str:
        """Named as such in the record: "tty", "deny", "all", ..."""
        ...

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Show the card, wait for an answer, and return it."""
        ...
