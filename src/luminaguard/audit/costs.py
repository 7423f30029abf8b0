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

    def plus(self, other: "Spent") -> "Spent":
        """Return both together, as this session's; unknown costs stay unknown."""
        costs = (self.cost_usd, other.cost_usd)
        known = [cost for cost in costs if cost is not None]
        return Spent(
            session_id=self.session_id,
            model=self.model,
            replies=self.replies + other.replies,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=sum(known, Decimal(0)) if len(known) == len(costs) else None,
        )


def spent(records: Iterable[Record]) -> list[Spent]:
    """Add up `model.replied` records by session and model, in the order they begin in."""
    return _added_up((used.session_id, used.model, used) for used in map(_one, records))


def by_model(used: Iterable[Spent]) -> list[Spent]:
    """Add up over all sessions."""
    return _added_up(("", one.model, one) for one in used)


def _added_up(parts: Iterable[tuple[str, str, Spent]]) -> list[Spent]:
    found: dict[tuple[str, str], Spent] = {}
    for session_id, model, used in parts:
        so_far = found.get((session_id, model), Spent(session_id=session_id, model=model))
        found[session_id, model] = so_far.plus(used)
    return list(found.values())


def _one(record: Record) -> Spent:
    usage = cast("Mapping[str, JsonValue]", record.body.get("usage") or {})
    cost = usage.get("cost_usd")
    return Spent(
        session_id=record.session_id,
        model=str(record.body.get("model")),
        replies=1,
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        cost_usd=Decimal(cost) if isinstance(cost, str) else None,
    )


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0
