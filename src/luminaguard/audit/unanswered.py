"""Requests that were open when their process ended: nobody can answer them any more."""

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import cast

from luminaguard.audit.chain import body_from
from luminaguard.audit.records import Entry, JsonObject, RecordKind
from luminaguard.audit.store import NONCE
from luminaguard.domain.calls import JsonValue

NOBODY = "nobody"
REASON = "LuminaGuard ended while the request was open"


def expired_requests(
    database: sqlite3.Connection, session_id: str, call_id: str, *, at: datetime
) -> list[Entry]:
    """Return a decision, `expired`, for each request of a call that has none."""
    rows = database.execute(
        "SELECT body FROM record WHERE call_id = ? AND session_id = ? AND kind = ? ORDER BY seq",
        (call_id, session_id, RecordKind.APPROVAL_REQUESTED),
    ).fetchall()
    bodies = [body_from(row[0]) for row in rows if isinstance(row[0], bytes)]
    return [
        Entry(
            kind=RecordKind.APPROVAL_DECIDED,
            body=_expired(body, request, nonce, at),
            session_id=session_id,
            call_id=call_id,
        )
        for body in bodies
        for request in (_object(_object(body, "card"), "request"),)
        if isinstance(nonce := request.get(NONCE), str) and not _is_used(database, nonce)
    ]


def _expired(
    body: JsonObject, request: JsonObject, nonce: str, at: datetime
) -> dict[str, JsonValue]:
    return {
        "tool": body.get("tool"),
        "decision": {
            "end": "expired",
            "approver": NOBODY,
            "reason": REASON,
            "at": at.isoformat(),
            "proof": "",
            "grant": "",
            "offered": [],
        },
        "request": request,
        NONCE: nonce,
    }


def _is_used(database: sqlite3.Connection, nonce: str) -> bool:
    found = database.execute("SELECT 1 FROM consumed WHERE nonce = ?", (nonce,)).fetchone()
    return found is not None


def _object(body: JsonObject, name: str) -> JsonObject:
    value = body.get(name)
    return cast("JsonObject", value) if isinstance(value, Mapping) else {}
