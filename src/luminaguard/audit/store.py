"""The database file: its tables, and how records lie in them.

Triggers refuse updates, deletes and gaps. They stop accidents, not attackers, who drop them: what
finds an attacker is the chain and the signed head.
"""

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luminaguard.audit.chain import body_from
from luminaguard.audit.records import CLOSES, INTENTS, Record, RecordKind, facts_of
from luminaguard.domain.calls import canonical_json

SCHEMA = """
CREATE TABLE record (
  seq INTEGER PRIMARY KEY,
  time TEXT NOT NULL,
  kind TEXT NOT NULL,
  session_id TEXT NOT NULL,
  call_id TEXT,
  body BLOB NOT NULL,
  prev TEXT NOT NULL,
  hash TEXT NOT NULL,
  group_signature TEXT,
  tool TEXT,
  lane TEXT,
  risk TEXT,
  decision TEXT
) STRICT;
CREATE INDEX record_time ON record (time);
CREATE INDEX record_session ON record (session_id);
CREATE INDEX record_call ON record (call_id) WHERE call_id IS NOT NULL;
CREATE INDEX record_kind ON record (kind);
CREATE INDEX record_tool ON record (tool) WHERE tool IS NOT NULL;
CREATE INDEX record_lane ON record (lane) WHERE lane IS NOT NULL;
CREATE INDEX record_risk ON record (risk) WHERE risk IS NOT NULL;
CREATE INDEX record_decision ON record (decision) WHERE decision IS NOT NULL;
CREATE TABLE record_rule (rule TEXT, seq INTEGER, PRIMARY KEY (rule, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE consumed (nonce TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE open_intent (
  session_id TEXT, call_id TEXT, kind TEXT, seq INTEGER NOT NULL,
  PRIMARY KEY (session_id, call_id, kind)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER record_is_appended BEFORE INSERT ON record
  WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM record)
  BEGIN SELECT raise(ABORT, 'records are appended without gaps'); END;
CREATE TRIGGER record_is_kept BEFORE DELETE ON record
  BEGIN SELECT raise(ABORT, 'records are never deleted'); END;
CREATE TRIGGER record_is_fixed BEFORE UPDATE ON record
  BEGIN SELECT raise(ABORT, 'records are never changed'); END;
CREATE TRIGGER consumed_is_kept BEFORE DELETE ON consumed
  BEGIN SELECT raise(ABORT, 'a used approval stays used'); END;
CREATE TRIGGER consumed_is_fixed BEFORE UPDATE ON consumed
  BEGIN SELECT raise(ABORT, 'a used approval stays used'); END;
"""

COLUMNS = "seq, time, kind, session_id, call_id, body, prev, hash"
NONCE = "nonce"
"""Where a decision's body has the nonce of the request that it consumes."""
Row = tuple[Any, ...]


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the database; every commit is on the medium before it returns.

    Transactions are begun by hand. The connection may be used by one thread at a time.
    """
    mode = "ro" if read_only else "rw"
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=10.0,
        isolation_level=None,
        check_same_thread=False,
    )
    if not read_only:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA fullfsync = ON")  # macOS: past the drive's cache
    database.execute("PRAGMA trusted_schema = OFF")
    return database


@contextmanager
def transaction(database: sqlite3.Connection, mode: str = "IMMEDIATE") -> Generator[None]:
    """Commit on success, roll back on any failure, that of the commit included."""
    database.execute(f"BEGIN {mode}")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def tail(database: sqlite3.Connection) -> tuple[int, str] | None:
    """Return the last record's number and hash; None when there is none."""
    row: Row | None = database.execute(
        "SELECT seq, hash FROM record ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return (int(row[0]), str(row[1])) if row else None


def insert(database: sqlite3.Connection, records: Iterable[Record], signature: str) -> None:
    """Add records, their search columns and intents; the last one carries the group's signature."""
    group = list(records)
    for record in group:
        is_last = record is group[-1]
        database.execute(
            "INSERT INTO record VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            row_of(record, signature if is_last else None),
        )
        database.executemany(
            "INSERT INTO record_rule VALUES (?,?)",
            [(rule, record.seq) for rule in facts_of(record.body).rules],
        )
        _note_intent(database, record)


def use_up(database: sqlite3.Connection, nonce: str, seq: int) -> bool:
    """Note that record `seq` used up an approval request; False if it was used up before."""
    try:
        database.execute("INSERT INTO consumed VALUES (?,?)", (nonce, seq))
    except sqlite3.IntegrityError:
        return False
    return True


def open_intents(database: sqlite3.Connection) -> list[tuple[str, str, str, int]]:
    """Return session, call, kind and number of every intent that nothing closed, oldest first."""
    return database.execute(
        "SELECT session_id, call_id, kind, seq FROM open_intent ORDER BY seq"
    ).fetchall()


def row_of(record: Record, signature: str | None) -> Row:
    """Return the row of table `record`."""
    facts = facts_of(record.body)
    return (
        record.seq,
        record.time,
        record.kind,
        record.session_id,
        record.call_id,
        canonical_json(record.body),
        record.prev,
        record.hash,
        signature,
        facts.tool,
        facts.lane,
        facts.risk,
        facts.decision,
    )


def record_from(row: Row) -> Record:
    """Return the record of a row that holds COLUMNS.

    Raises:
        ValueError: the row is not what this program writes.
    """
    seq, time, kind, session_id, call_id, body, prev, hash_ = row[:8]
    if not isinstance(body, bytes):
        raise ValueError("the body is not bytes")  # noqa: TRY004 - stored content
    return Record(
        seq=seq,
        time=time,
        kind=kind,
        session_id=session_id,
        call_id=call_id,
        body=body_from(body),
        prev=prev,
        hash=hash_,
    )


def closed_by(record: Record) -> str | None:
    """Return the kind of the intent that a record ends; None if it ends none."""
    if record.kind in {RecordKind.INTENT_UNKNOWN, RecordKind.INTENT_RECOVERED}:
        intent = record.body.get("intent")
        return intent if isinstance(intent, str) else None
    return next((intent for close, intent in CLOSES.items() if close == record.kind), None)


def _note_intent(database: sqlite3.Connection, record: Record) -> None:
    key = (record.session_id, record.call_id)
    if record.kind in INTENTS:
        database.execute(
            "INSERT INTO open_intent VALUES (?,?,?,?)", (*key, record.kind, record.seq)
        )
    elif closed := closed_by(record):
        database.execute(
            "DELETE FROM open_intent WHERE session_id = ? AND call_id = ? AND kind = ?",
            (*key, closed),
        )
