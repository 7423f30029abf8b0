"""The story of other processes' sessions, from the audit log: what was called, how it ended."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import JsonObject, Record, RecordKind
from luminaguard.errors import AuditError, AuditTampered
from luminaguard.tui.trail import Trail, short_text

FIRST = 50
"""Records from before the screen was opened."""
MOST = 500
"""Records read at once."""


class RecordTrail:
    """Follows the log of one state directory; it is only read."""

    def __init__(self, state_dir: Path, trail: Trail) -> None:
        """Add what is recorded to `trail`."""
        self._state_dir = state_dir
        self._trail = trail
        self._seq = 0

    def read(self) -> list[Record]:
        """Return the records that are new, oldest first. Blocking.

        Raises:
            AuditTampered: the log cannot be read.
        """
        try:
            reader = AuditReader(self._state_dir)
        except AuditTampered:
            raise
        except AuditError:
            return []  # there is none yet
        limit = MOST if self._seq else FIRST
        found = [one for one in reader.find(Query(limit=limit)) if one.seq > self._seq]
        return found[::-1]

    def add(self, records: list[Record]) -> None:
        """Tell what was recorded."""
        for record in records:
            self._seq = record.seq
            line = _LINES.get(record.kind)
            if line is not None:
                at = datetime.fromisoformat(record.time)
                self._trail.told(at, record.session_id[-4:], line(record.body))


def _called(body: JsonObject) -> str:
    call = body.get("call")
    if not isinstance(call, dict):
        return "-> a call that cannot be read"
    arguments = call.get("arguments")
    values = arguments.values() if isinstance(arguments, dict) else ()
    return f"-> {call.get('tool')}{''.join(f' {short_text(value)}' for value in values)}"


def _asked(body: JsonObject) -> str:
    return f"   asked about {body.get('tool')} ({body.get('risk')})"


def _ended(body: JsonObject) -> str:
    decision = body.get("decision")
    end = f" ({decision.get('end')})" if isinstance(decision, dict) else ""
    error = f": {body['error']}" if body.get("error") else ""
    return f"   {body.get('tool')} {body.get('outcome')}{end}{error}"


_LINES: Mapping[str, Callable[[JsonObject], str]] = {
    RecordKind.CALL_PROPOSED: _called,
    RecordKind.APPROVAL_REQUESTED: _asked,
    RecordKind.CALL_OUTCOME: _ended,
}
