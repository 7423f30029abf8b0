"""What models used, by the record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from luminaguard.audit.records import Record
from luminaguard.domain.calls import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one session used of one model."""

    session_id: str
    model: str
    replies: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """None: unknown for at least one reply."""


def spent(records: Iterable[Record]) -> list[Spent]:
    """Add up `model.replied` records by session and model, in the order they begin in."""
    found: dict[tuple[str, str], Spent] = {}
    for record in records:
        model = str(record.body.get("model"))
        key = record.session_id, model
        usage = cast("Mapping[str, JsonValue]", record.body.get("usage") or {})
        found[key] = _more(found.get(key, Spent(session_id=key[0], model=model)), usage)
    return list(found.values())


def _more(so_far: Spent, usage: Mapping[str, JsonValue]) -> Spent:
    cost = usage.get("cost_usd")
    known = so_far.cost_usd is not None and isinstance(cost, str)
    return Spent(
        session_id=so_far.session_id,
        model=so_far.model,
        replies=so_far.replies + 1,
        input_tokens=so_far.input_tokens + _count(usage.get("input_tokens")),
        output_tokens=so_far.output_tokens + _count(usage.get("output_tokens")),
        cost_usd=(so_far.cost_usd or Decimal(0)) + Decimal(str(cost)) if known else None,
    )


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0
