"""How records are shown to people: the card that was decided on, drawn again, or all fields."""

import json
import os
import shutil
import sys

from luminaguard.approval.codec.fields import Malformed
from luminaguard.approval.codec.recorded import card_from_record
from luminaguard.approval.look import look_of
from luminaguard.approval.plain import full
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Record, RecordKind, object_at
from luminaguard.domain.visible import visible

CARD_KINDS = frozenset((
    RecordKind.APPROVAL_REQUESTED,
    RecordKind.APPROVAL_DECIDED,
    RecordKind.COMMIT_STARTED,
    RecordKind.COMMIT_FINISHED,
    RecordKind.CALL_OUTCOME,
))  # fmt: skip
"""Records that belong to a card, if their call had one."""
_HOLD_CARDS = frozenset({RecordKind.APPROVAL_REQUESTED, RecordKind.APPROVAL_DECIDED})
_UNSEEN = ": nobody was asked; this is what passed"


def shown(reader: AuditReader, record: Record) -> str:
    """Return a record for people: its card with how that was decided, or else its fields."""
    told = visible(json.dumps(record.as_json(), ensure_ascii=False, indent=2), keep_newlines=True)
    if record.kind not in CARD_KINDS or record.call_id is None:
        return told
    of_call = reader.find(
        Query(session_id=record.session_id, call_id=record.call_id, newest_first=False, limit=0)
    )
    cards = [one for one in of_call if "card" in one.body and one.kind in _HOLD_CARDS]
    if not cards:
        return told
    try:
        card = card_from_record(cards[-1].body.get("card"))
    except Malformed as problem:
        return f"{told}\n(its card cannot be drawn: {visible(str(problem))})"
    columns, rows = shutil.get_terminal_size()
    environ = os.environ if sys.stdout.isatty() else {**os.environ, "NO_COLOR": "1"}
    drawn = "\n".join(full(card, look_of(environ, columns=columns, rows=rows)))
    ends = "\n".join(line for one in of_call for line in _ending(one))
    unseen = "" if cards[-1].kind == RecordKind.APPROVAL_REQUESTED else _UNSEEN
    return f"record {cards[-1].seq} of {cards[-1].time}{unseen}\n{drawn}\n{ends}"


def _ending(record: Record) -> list[str]:
    """Return how a call's card ended, as far as this record tells."""
    if record.kind == RecordKind.APPROVAL_DECIDED:
        decision = object_at(record.body, "decision")
        words = [f"{decision.get('end')} by {decision.get('approver')}"]
        words += [f"{name}: {decision[name]}" for name in ("reason", "proof") if decision.get(name)]
        return [f"record {record.seq} of {record.time}: {visible('; '.join(words))}"]
    if record.kind == RecordKind.CALL_OUTCOME:
        error = record.body.get("error")
        more = f": {error}" if error else ""
        text = f"{record.body.get('outcome')}{more}"
        return [f"record {record.seq} of {record.time}: {visible(text)}"]
    return []
