"""Finding records by when, whose, what, how risky, and what they say."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from luminaguard.audit.place import time_text
from luminaguard.audit.records import Record
from luminaguard.audit.store import COLUMNS, record_from

_SELECT = f"SELECT {COLUMNS} FROM record"  # noqa: S608 - a constant


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
    conditions, values = _conditions(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "DESC" if query.newest_first else "ASC"
    for row in database.execute(
        f"{_SELECT}{where} ORDER BY seq {order} LIMIT ?", (*values, query.limit or -1)
    ):
        yield record_from(row)


def get(database: sqlite3.Connection, seq: int) -> Record | None:
    """Return one record; None if there is none of that number.

    Raises:
        ValueError: the stored record cannot be read.
    """
    row = database.execute(f"{_SELECT} WHERE seq = ?", (seq,)).fetchone()
    return record_from(row) if row else None


def _conditions(query: Query) -> tuple[list[str], list[str]]:
    conditions: list[str] = []
    values: list[str] = []
    columns = ("session_id", "call_id", "kind", "tool", "risk", "lane", "decision")
    wanted: list[tuple[str, str | None]] = [
        ("time >= ?", time_text(query.since) if query.since else None),
        ("time < ?", time_text(query.until) if query.until else None),
        *((f"{column} = ?", getattr(query, column)) for column in columns),
        ("seq IN (SELECT seq FROM record_rule WHERE rule = ?)", query.rule),
        ("CAST(body AS TEXT) LIKE ? ESCAPE '\\'", _pattern(query.text) if query.text else None),
    ]
    for condition, value in wanted:
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return conditions, values


def _pattern(text: str) -> str:
    """Return a LIKE pattern for the text as it stands in a JSON body."""
    in_json = json.dumps(text, ensure_ascii=False)[1:-1]
    for special in "\\%_":
        in_json = in_json.replace(special, f"\\{special}")
    return f"%{in_json}%"
