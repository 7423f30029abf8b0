"""How each endpoint does, as figures."""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointMetrics:
    """One endpoint's, since the client came up."""

    url: str
    circuit: str
    in_flight: int
    requests: int
    failures: int
    retried: int
    """Requests that were sent again elsewhere, or here, after they failed here."""
    openings: int
    """How often its circuit opened."""
    mean_s: float
    """Of the answers."""
    ejected: str = ""
    """Why it is not used; empty: it is."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return dataclasses.asdict(self)
