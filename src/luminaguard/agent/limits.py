"""How far an agent may go on its own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The loop stops at the first limit that it reaches."""

    steps: int = 50
    """Model replies."""
    seconds: float = 3600.0
    denials_in_row: int = 5
    """Calls in a row that were not approved or not allowed."""
    result_chars: int = 50_000
    """Of one result that the model is shown; the rest is counted."""
