"""Taking old records out of the log without breaking its chain.

They are first written to an export that stands for itself, signed up to its own end. Then a record
says so, a signed root names the last of them, and only then are they deleted. Whatever is cut short
in between leaves a log that verifies, and can be done again.
"""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import file_digest
from pathlib import Path

from luminaguard.audit.export import export
from luminaguard.audit.files import sync_directory, write_private
from luminaguard.audit.head import Head, Signer, load_signer, parse_head, read_root
from luminaguard.audit.log import AuditLog
from luminaguard.audit.place import LogPlace, head_bytes, time_text
from luminaguard.audit.records import RecordKind
from luminaguard.audit.store import SCHEMA, connect, transaction
from luminaguard.errors import AuditError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was taken out."""

    records: int
    through: int
    """Number of the last one; 0: nothing was old enough."""


def prune(
    state_dir: Path, before: datetime, export_to: Path, clock: Callable[[], datetime]
) -> Pruned:
    """Move all records of before a moment into an export.

    Calls that are still open, and everything after the first of them, stay; so does the last
    record, which the chain goes on from.

    Raises:
        AuditError: the export exists already, or the log is damaged.
        OSError: the export cannot be written; the log is as it was.
    """
    place = LogPlace.below(state_dir)
    log = AuditLog.open(state_dir, clock)
    try:
        signer = load_signer(place.key)
        database = connect(place.database)
        try:
            _finish_earlier(database, place, signer)
            last = _last_to_go(database, before)
            if last is None:
                return Pruned(records=0, through=_taken_out(place))
            root = signer.sign_root(_head_at(database, place, last))
            count, digest = _write_export(database, place, signer, last, export_to)
            log.append(
                RecordKind.LOG_PRUNED,
                {"through": last, "records": count, "export": export_to.name, "sha256": digest},
                session_id="",
            )
            write_private(place.root, head_bytes(root))
            _delete(database, last)
        finally:
            database.close()
    finally:
        log.close()
    return Pruned(records=count, through=last)


def _last_to_go(database: sqlite3.Connection, before: datetime) -> int | None:
    row = database.execute(
        "SELECT min((SELECT max(seq) FROM record WHERE time < ?),"
        " (SELECT max(seq) - 1 FROM record),"
        " coalesce((SELECT min(seq) - 1 FROM open_intent), 9223372036854775807)),"
        " (SELECT min(seq) FROM record)",
        (time_text(before),),
    ).fetchone()
    last, first = row
    return int(last) if last is not None and last >= first else None


def _head_at(database: sqlite3.Connection, place: LogPlace, seq: int) -> Head:
    log_id = parse_head(place.head.read_bytes()).head.log_id
    hash_, time = database.execute("SELECT hash, time FROM record WHERE seq = ?", (seq,)).fetchone()
    return Head(log_id=log_id, seq=seq, hash=str(hash_), time=str(time))


def _write_export(
    database: sqlite3.Connection, place: LogPlace, signer: Signer, last: int, export_to: Path
) -> tuple[int, str]:
    """Write records up to `last`, durably; return how many, and the file's SHA-256."""
    signed = signer.sign_head(_head_at(database, place, last))
    try:
        with export_to.open("x+b") as file:
            count = export(database, signed, signer.public_key, file, root=read_root(place.root))
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = file_digest(file, "sha256").hexdigest()
    except FileExistsError as error:
        raise AuditError(f"{export_to} exists already", hint="name a new file") from error
    sync_directory(export_to.parent)
    return count, digest


def _finish_earlier(database: sqlite3.Connection, place: LogPlace, signer: Signer) -> None:
    """Delete what an earlier removal had signed away when it was cut short."""
    root = read_root(place.root)
    if root is None:
        return
    if not signer.is_root(root):
        raise AuditError("the log's root is not signed by its key", hint="audit verify says more")
    _delete(database, root.head.seq)


def _taken_out(place: LogPlace) -> int:
    root = read_root(place.root)
    return root.head.seq if root else 0


_KEPT = ("record_is_kept", "consumed_is_kept")


def _delete(database: sqlite3.Connection, last: int) -> None:
    """Delete records up to `last`; the triggers that forbid it are back in the same transaction."""
    definitions = {name: _definition(name) for name in _KEPT}
    with transaction(database):
        for name in definitions:
            database.execute(f"DROP TRIGGER {name}")
        for table in ("record_rule", "consumed", "record"):
            database.execute(f"DELETE FROM {table} WHERE seq <= ?", (last,))  # noqa: S608
        for definition in definitions.values():
            database.execute(definition)


def _definition(name: str) -> str:
    """Return the statement of the schema that makes a trigger."""
    start = SCHEMA.index(f"CREATE TRIGGER {name} ")
    return SCHEMA[start : SCHEMA.index("END;", start) + 3]
