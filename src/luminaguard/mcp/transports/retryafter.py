"""The header `Retry-After`: seconds, or a date."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(text: str, now: datetime | None = None) -> float | None:
    """Return how long to wait, None if the header says nothing that makes sense.

    Source: RFC 9110 §10.2.3.
    """
    text = text.strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, now or datetime.now(UTC))
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _until(text: str, now: datetime) -> float:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return math.nan
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
