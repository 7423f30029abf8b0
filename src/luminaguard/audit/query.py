"""Finding records by when, whose, what, how risky, and what they say."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from luminaguard.audit.place import time_text
from luminaguard.audit.records import Record
from luminaguard.audit.store import COLUMNS, record_from

_SELECT = f"SELECT {COLUMNS} FROM record AS main"  # noqa: S608 - a constant
_SELECT_BY_RULE = f"SELECT {COLUMNS} FROM record_rule JOIN record AS main USING (seq)"  # noqa: S608

_BY_SELECTIVITY = ("call_id", "session_id", "decision", "rule", "tool", "kind", "risk", "lane")
"""Filters on columns, the one first that usually matches fewest records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for; what is None does not matter, all that is given must hold."""

    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""
    session_id: str | None = None
    call_id: str | None = None
    kind: str | None = None
    tool: str | None = None
    risk: str | None = None
    lane: str | None = None
    rule: str | None = None
    decision: str | None = None
    text: str | None = None
    """Occurs anywhere in the body; ASCII letters match in either case."""
    newest_first: bool = True
    limit: int = 100
    """At most this many; 0 means all."""


def find(database: sqlite3.Connection, query: Query) -> Iterator[Record]:
    """Yield the records that match, in order.

    Raises:
        ValueError: a stored record cannot be read.
    """
    statement, values = _statement(query)
    for row in database.execute(statement, values):
        yield record_from(row)


def get(database: sqlite3.Connection, seq: int) -> Record | None:
    """Return one record; None if there is none of that number.

    Raises:
        ValueError: the stored record cannot be read.
    """
    row = database.execute(f"{_SELECT} WHERE seq = ?", (seq,)).fetchone()
    return record_from(row) if row else None


def _statement(query: Query) -> tuple[str, list[str | int]]:
    """Return the SQL and its values.

    The database keeps no statistics, so the index to go by is named here: the given filter that is
    likely to match fewest records keeps its index, and a `+` hides that of each other.
    """
    given = [(column, getattr(query, column)) for column in _BY_SELECTIVITY]
    filters = [(column, value) for column, value in given if value is not None]
    bounds = [(query.since, "time >= ?"), (query.until, "time < ?")]
    by_time = not filters and (query.since or query.until)
    source, order = _SELECT, "time, seq" if by_time else "seq"
    conditions: list[str] = []
    values: list[str | int] = []
    for at, (column, value) in enumerate(filters):
        if column != "rule":
            conditions.append(f"{'+' if at else ''}{column} = ?")
        elif at:
            conditions.append(
                "EXISTS (SELECT 1 FROM record_rule WHERE rule = ? AND seq = main.seq)"
            )
        else:
            source, order = _SELECT_BY_RULE, "record_rule.seq"
            conditions.append("rule = ?")
        values.append(value)
    for moment, condition in bounds:
        if moment is not None:
            conditions.append(condition if by_time else f"+{condition}")
            values.append(time_text(moment))
    if query.text is not None:
        conditions.append("CAST(body AS TEXT) LIKE ? ESCAPE '\\'")
        values.append(_pattern(query.text))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    direction = " DESC" if query.newest_first else ""
    ordered = ", ".join(column + direction for column in order.split(", "))
    return f"{source}{where} ORDER BY {ordered} LIMIT ?", [*values, query.limit or -1]


def _pattern(text: str) -> str:
    """Return a LIKE pattern for the text as it stands in a JSON body."""
    in_json = json.dumps(text, ensure_ascii=False)[1:-1]
    for special in "\\%_":
        in_json = in_json.replace(special, f"\\{special}")
    return f"%{in_json}%"
