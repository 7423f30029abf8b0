"""What is known about one request on its way: the transport writes it down, the caller reads it.

The SDK turns every failure into one kind of error. Whether a call may be sent again depends on what
it forgets: if anything was sent at all, the status, when to come back. The transport runs in the
caller's context, so this travels beside the request.
"""

import math
from contextvars import ContextVar
from dataclasses import dataclass

import anyio

from luminaguard.errors import McpConnectionLost, McpError, McpUnreachable


@dataclass(slots=True, kw_only=True, eq=False)
class Exchange:
    """One request and all that is sent for it."""

    deadline: float = math.inf
    """On anyio's clock: nothing of it is read any longer."""
    heard: bool = False
    """Stays open to hear what the server says unasked; its rate is bounded, not its length."""
    scope: anyio.CancelScope | None = None
    """Of whoever waits for the answer; cancelled when there can be none."""
    status: int | None = None
    """HTTP's, of the answer."""
    retry_after_s: float | None = None
    in_session: bool = False
    """Whether it was sent within a session of the server."""
    failure: McpError | None = None

    begun: bool = False
    """Whether an answer to a part of it came: from then on it was sent, whatever fails."""

    def note(self, error: McpError) -> McpError:
        """Write down why no answer will come; the first reason stays. Return it.

        Once anything came back, the request was sent, even if a later connection for it fails.
        """
        if isinstance(error, McpUnreachable) and (self.status is not None or self.begun):
            error = McpConnectionLost(str(error))
        self.failure = self.failure or error
        return self.failure

    def fail(self, error: McpError) -> None:
        """Note why no answer will come, and wake whoever waits."""
        self.note(error)
        if self.scope is not None:
            self.scope.cancel()


CURRENT: ContextVar[Exchange | None] = ContextVar("mcp_exchange", default=None)
