"""What a human can be offered to have remembered with a yes."""

from dataclasses import dataclass
from enum import StrEnum

from luminaguard.domain.calls import JsonValue


class GrantScope(StrEnum):
    """How much a remembered approval covers, narrowest first."""

    EXACT = "exact"
    """This very call, with this very effect."""
    SESSION = "session"
    """Calls like this one until the session ends."""
    PATTERN = "pattern"
    """Calls like this one, in any session, until the grant expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantOffer:
    """One way to remember a yes, made by the policy on the host and shown before it is taken.

    Screens show it and name it in their answer; they can neither make nor change one.
    """

    offer_id: str
    """Names this offer within its card."""
    scope: GrantScope
    covers: str
    """One sentence: which calls and effects it would let through, and until when."""
    also: tuple[str, ...] = ()
    """Preview: examples of further calls that it would let through."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return all fields."""
        return {
            "offer_id": self.offer_id,
            "scope": self.scope.value,
            "covers": self.covers,
            "also": list(self.also),
        }
