"""How far an agent may go on its own."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The loop stops at the first limit that it reaches."""

    steps: int = 50
    """Model replies."""
    seconds: float = 3600.0
    tokens: int = 2_000_000
    """Sent and received, all replies together."""
    cost_usd: Decimal | None = None
    """None: no limit. A limit cannot be kept, so nothing starts, where a price is unknown."""
    denials_in_row: int = 5
    """Calls in a row that were not approved or not allowed."""
    result_chars: int = 30_000
    """Of one result that the model is shown at once; the rest is counted, and can be read on."""
