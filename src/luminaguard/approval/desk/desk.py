"""What every screen works on: the open questions, and how to answer one.

The terminal UI, `luminaguard approvals`, a web page and MCP elicitation are all written against
`Desk`, whether the questions are of their own process or of another one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from luminaguard.approval.card import DiffCard
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.errors import ApprovalError

UNSEEN = -1
"""Version to wait from when nothing was seen yet: `wait_for_change` then returns at once."""
LONGEST_REASON = 2_000
"""Characters of a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One open question."""

    request: ApprovalRequest
    card: DiffCard
    session_id: str
    origin: str
    """Who asks, for people: program, process id and workspace."""
    opened_at: datetime

    @property
    def digest(self) -> str:
        """Digest of the request: its name everywhere."""
        return self.request.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A human's yes or no to one request."""

    end: End
    """APPROVED or REJECTED; nobody can say EXPIRED or FAILED."""
    reason: str = ""
    """At most LONGEST_REASON characters."""
    grant: str = ""
    """Id of the card's offer that is taken with a yes; empty: just this once."""

    def __post_init__(self) -> None:
        """Refuse what is no answer.

        Raises:
            ApprovalError: it is neither yes nor no, too long, or remembers a no.
        """
        if self.end not in {End.APPROVED, End.REJECTED}:
            raise ApprovalError(f"an answer is approved or rejected, not {self.end.value}")
        if self.grant and self.end is not End.APPROVED:
            raise ApprovalError("only a yes can be remembered")
        if len(self.reason) > LONGEST_REASON:
            raise ApprovalError(f"the reason is longer than {LONGEST_REASON:,} characters")


class Desk(Protocol):
    """The open questions of one process, as one screen sees them.

    Invariants:
        - Nothing ends by being looked at, nor because a screen goes away or dies: a question is
          open until it is answered, expires, or is withdrawn by whoever asked.
        - Exactly one answer counts. Whoever comes second is told so by an error.
        - An answer is to the request of this digest: call, effect, base, policy and expiry.
        - Used on the event loop that it was made on.
    """

    def pending(self) -> tuple[Pending, ...]:
        """Return what is open, oldest first: now, or (another process's) as of the last wait."""
        ...

    async def wait_for_change(self, seen: int) -> int:
        """Wait until there is a newer version of `pending` than `seen`, and return its number.

        Start with UNSEEN. Being cancelled is harmless.

        Raises:
            DeskLost: the process that asks is gone; its questions are, too.
        """
        ...

    async def answer(self, request_digest: str, answer: Answer) -> Decision:
        """Decide one request, and return the decision that is recorded.

        Raises:
            UnknownRequest: there is no such request.
            RequestSpent: it has been decided already.
            RequestExpired: it has expired.
            RequestWithdrawn: the session that asked is gone.
            NotProven: a yes needs a proof that this screen did not give; it is still open.
            AnswerRefused: the answer does not fit the card; it is still open.
            DeskLost: no reply came; whether the answer counted is in the audit log.
        """
        ...
