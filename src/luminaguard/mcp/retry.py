"""Whether and when a request is sent again: decided without I/O."""

from dataclasses import dataclass

from luminaguard.errors import (
    McpAnswerBroken,
    McpConnectionLost,
    McpError,
    McpTimedOut,
    McpUnavailable,
    McpUnreachable,
    OutcomeUnknown,
)

_MAY_HELP = (
    McpUnreachable,
    McpUnavailable,
    McpTimedOut,
    McpConnectionLost,
    McpAnswerBroken,
)
"""Another attempt, best at another endpoint, may end better; other errors are answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential, with full jitter, and never earlier than the server asks for.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    first_s: float = 0.1
    longest_s: float = 10.0
    longest_asked_s: float = 60.0
    """A server that asks for more is not waited for."""

    def wait_s(self, attempt: int, asked_s: float | None, jitter: float) -> float | None:
        """Return how long to wait after the `attempt`-th failure (from 1); None: do not wait.

        `jitter`: evenly distributed in [0, 1).
        """
        asked = asked_s or 0.0
        if asked > self.longest_asked_s:
            return None
        grown = min(self.longest_s, self.first_s * 2.0 ** min(attempt - 1, 60))
        return asked + grown * jitter


def asked_s(error: McpError) -> float | None:
    """Return how long the server wants to be left alone."""
    found = error.context.get("retry_after_s")
    return float(found) if isinstance(found, int | float) else None


def may_help(error: McpError) -> bool:
    """Whether another attempt may end better: the error is none that the server answered."""
    return isinstance(error, _MAY_HELP) and error.context.get("permanent") is not True


def may_repeat(error: McpError, *, safe_to_retry: bool) -> bool:
    """Whether a request that ended so may be sent again.

    It may if it was provably not sent, or if the caller knows that doing it twice is the same as
    doing it once. What the server claims about its tools plays no part.
    """
    return may_help(error) and (safe_to_retry or isinstance(error, McpUnreachable))


def final(error: McpError, what: str, *, safe_to_retry: bool) -> McpError:
    """Return what the caller is told: of an unsafe call that may have been done, that it may."""
    unsent = isinstance(error, McpUnreachable) or error.context.get("not_taken") is True
    if safe_to_retry or unsent or not may_help(error):
        return error
    return OutcomeUnknown(
        f"{what} was sent, and it is unknown what it did: {error}",
        hint="look at what it should have changed before calling again",
        retry_after_s=asked_s(error),
    )
