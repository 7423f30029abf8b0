"""Reading a log: finding, verifying, exporting. A damaged log can be read: nothing is written."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from luminaguard.audit.export import export
from luminaguard.audit.head import (
    SignedHead,
    Verifier,
    load_public_key,
    load_signer,
    parse_head,
    read_root,
)
from luminaguard.audit.lock import FileLock
from luminaguard.audit.place import LogPlace
from luminaguard.audit.query import Query, find, get
from luminaguard.audit.records import Record
from luminaguard.audit.store import connect
from luminaguard.audit.verify import Verification, verify
from luminaguard.errors import AuditError, AuditTampered

_LOCK_TIMEOUT_S = 60.0


class AuditReader:
    """Reads the log of one state directory, while others may be writing it."""

    def __init__(self, state_dir: Path) -> None:
        """Look at the log below `state_dir`.

        Raises:
            AuditError: there is none yet.
        """
        self._place = LogPlace.below(state_dir)
        if not self._place.exists:
            raise AuditError(
                f"there is no audit log in {state_dir}", hint="the first call begins one"
            )

    def find(self, query: Query) -> list[Record]:
        """Return the records that match.

        Raises:
            AuditTampered: the database, or a record, cannot be read.
        """
        with self._reading() as database:
            return list(find(database, query))

    def get(self, seq: int) -> Record | None:
        """Return one record; None if there is none of that number.

        Raises:
            AuditTampered: the database, or the record, cannot be read.
        """
        with self._reading() as database:
            return get(database, seq)

    def verify(self, progress: Callable[[int], None] = lambda _: None) -> Verification:
        """Check the whole log; whatever cannot be read counts as tampered with.

        `progress` is told the number of the record that was checked, now and then.
        """
        try:
            verifier = self._verifier()
        except AuditTampered as problem:
            return Verification(ok=False, count=0, first_bad_seq=1, problem=str(problem))
        try:
            with self._snapshot() as (database, content):
                root = read_root(self._place.root)
                return verify(database, _head_from(content), verifier, root, progress)
        except AuditTampered as problem:
            return Verification(ok=False, count=0, first_bad_seq=1, problem=str(problem))

    def export(self, to: BinaryIO) -> int:
        """Write the log as JSON Lines, and return how many records were written.

        Raises:
            AuditTampered: the head, or a record, cannot be read.
            OSError: `to` cannot be written.
        """
        verifier = self._verifier()
        with self._snapshot() as (database, content):
            root = read_root(self._place.root)
            return export(database, parse_head(content), verifier.public_key, to, root=root)

    @property
    def last_seq(self) -> int:
        """Number of the last record.

        Raises:
            AuditTampered: the database cannot be read.
        """
        with self._reading() as database:
            found = database.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()
        return int(found[0])

    def stream(self, query: Query) -> Generator[Record]:
        """Yield the records that match, without holding all of them.

        Raises:
            AuditTampered: the database, or a record, cannot be read.
        """
        with self._reading() as database:
            yield from find(database, query)

    def _verifier(self) -> Verifier:
        """Return the log's key, having checked that both halves fit."""
        signer = load_signer(self._place.key)
        if load_public_key(self._place.public_key) != signer.public_key:
            raise AuditTampered("the audit log's public key is not that of its private key")
        return signer

    @contextmanager
    def _snapshot(self) -> Generator[tuple[sqlite3.Connection, bytes]]:
        """Give the database and the head's bytes as they were at one moment."""
        with self._reading() as database:
            lock = FileLock(self._place.lock)
            lock.acquire(_LOCK_TIMEOUT_S)
            try:
                content = _content(self._place.head)
                database.execute("BEGIN")
                database.execute("SELECT max(seq) FROM record").fetchone()
            finally:
                lock.release()
            yield database, content

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        try:
            database = connect(self._place.database, read_only=True)
            try:
                yield database
            finally:
                database.close()
        except (sqlite3.Error, ValueError) as error:
            raise AuditTampered(f"the audit log cannot be read: {error}") from error


def _content(path: Path) -> bytes:
    """Return a file's content; none when it is missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _head_from(content: bytes) -> SignedHead | None:
    try:
        return parse_head(content)
    except AuditTampered:
        return None
