"""The audit log that a running process writes: a record first, then its effect.

Everything here blocks, for as long as the medium takes: call it in a worker thread.
"""

import sqlite3
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from luminaguard.audit.chain import body_from, link
from luminaguard.audit.files import write_private
from luminaguard.audit.head import Head, Signer, load_signer, parse_head
from luminaguard.audit.lock import FileLock
from luminaguard.audit.place import LogPlace, create, head_bytes, time_text
from luminaguard.audit.records import INTENTS, Entry, JsonObject, Record, RecordKind
from luminaguard.audit.redact import redacted
from luminaguard.audit.sessions import SessionLocks
from luminaguard.audit.store import NONCE, connect, insert, open_intents, tail, transaction, use_up
from luminaguard.audit.unanswered import expired_requests
from luminaguard.audit.verify import BadRecord, check_group_in_flight
from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.domain.outcome import AuditRef
from luminaguard.errors import ApprovalSpent, AuditTampered, AuditWriteFailed

LOCK_TIMEOUT_S = 60.0
"""How long to wait for other writers, who hold the lock for one group each."""

_TAMPERED_HINT = "`luminaguard audit verify` names the first bad record"


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


class AuditLog:
    """Appends to one log. Threads of a process and several processes may write at the same time."""

    def __init__(self, place: LogPlace, signer: Signer, clock: Callable[[], datetime]) -> None:
        """Use `open` instead: it begins a log if there is none, and checks where it ends."""
        self._place = place
        self._signer = signer
        self._clock = clock
        self._database = connect(place.database)
        self._lock = FileLock(place.lock)
        self._mutex = threading.Lock()
        self._sessions = SessionLocks(place.sessions)
        self._head: Head | None = None
        self._head_content = b""
        self._last_seq = 0
        self._intents_are_closed = False

    @classmethod
    def open(cls, state_dir: Path, clock: Callable[[], datetime] = utc_now) -> "AuditLog":
        """Open the log of a state directory, or begin one.

        A last group that a crash left without a head gets one.

        Raises:
            AuditTampered: the log does not end where its head says.
            AuditWriteFailed: it cannot be made or opened.
        """
        place = LogPlace.below(state_dir)
        try:
            if not place.exists:
                create(place, clock)
            if not place.database.is_file():
                raise AuditTampered("the audit log's records are missing", hint=_TAMPERED_HINT)
            log = cls(place, load_signer(place.key), clock)
            try:
                log._commit([])
            except BaseException:
                log.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise AuditWriteFailed(f"the audit log cannot be opened: {error}") from error
        return log

    def append(
        self,
        kind: RecordKind | str,
        body: JsonObject,
        *,
        session_id: str,
        call_id: str | None = None,
    ) -> AuditRef:
        """Record one thing; when this returns, the record and the head over it are durable.

        Secrets are left out of the body (see `redact`). The session counts as alive from its first
        record until `end_session`, `close`, or the end of this process.

        Raises:
            AuditWriteFailed: it is not recorded, so what it announces must not happen.
        """
        return self.append_all(
            [Entry(kind=_kind(kind), body=body, session_id=session_id, call_id=call_id)]
        )[0]

    def append_all(self, entries: Sequence[Entry]) -> tuple[AuditRef, ...]:
        """Record several things in order, all or none, for little more than the cost of one.

        Raises:
            AuditWriteFailed: they are not recorded.
        """
        with _failing_closed():
            return self._commit(entries)

    def decide(
        self, request_nonce: str, body: JsonObject, *, session_id: str, call_id: str | None = None
    ) -> AuditRef:
        """Record how an approval request ended, and use it up in the same transaction.

        Raises:
            ApprovalSpent: this request ended before; nothing is recorded.
            AuditWriteFailed: it is not recorded.
        """
        kind = RecordKind.APPROVAL_DECIDED
        entry = Entry(kind=kind, body=body, session_id=session_id, call_id=call_id)
        with _failing_closed():
            return self._commit([entry], nonce=request_nonce)[0]

    def close_open_intents(
        self, recovered: Mapping[str, JsonObject] | None = None
    ) -> tuple[AuditRef, ...]:
        """Close every intent that a process left open when it ended.

        Calls whose id is in `recovered` (call id → what recovery found) get `intent.recovered`, all
        others `intent.unknown`; a request for approval that was open is decided, as expired. Unless
        this was called before, it happens by itself ahead of the
        first `call.proposed`, without a report.

        Raises:
            AuditWriteFailed: it is not recorded.
        """
        with _failing_closed():
            return self._commit([], recovered=recovered or {})

    def end_session(self, session_id: str) -> None:
        """Stop counting a session as alive; an intent that it left open will be closed."""
        with _failing_closed(), self._turn():
            self._sessions.leave(session_id)

    def close(self) -> None:
        """Close the database and stop counting this process's sessions as alive."""
        try:
            with _failing_closed(), self._turn():
                self._sessions.leave_all()
        finally:
            self._database.close()

    def _commit(
        self,
        entries: Sequence[Entry],
        *,
        nonce: str | None = None,
        recovered: Mapping[str, JsonObject] | None = None,
    ) -> tuple[AuditRef, ...]:
        """Write records, then move the head over them; with `recovered`, intents are closed first.

        Returns the places of `entries`, or of the closing records when there are no entries.
        """
        _refuse_unfit(entries)
        with self._turn():
            if recovered is None and _proposes(entries) and not self._intents_are_closed:
                recovered = {}
            closing = [] if recovered is None else self._closing(recovered)
            for entry in entries:
                self._sessions.join(entry.session_id)
            with transaction(self._database):
                seq, prev = self._checked_end()
                records = self._linked([*closing, *entries], seq, prev, nonce)
                if records:
                    seq, prev = records[-1].seq, records[-1].hash
                    insert(self._database, records, self._signer.sign_group_end(seq, prev))
                _use_up_expired(self._database, records[: len(closing)])
                if nonce is not None and not use_up(self._database, nonce, seq):
                    raise ApprovalSpent("this approval request has already ended", nonce=nonce)
            self._move_head(seq, prev)
            self._intents_are_closed |= recovered is not None
        written = records[len(closing) :] if entries else records
        return tuple(AuditRef(seq=record.seq, hash=record.hash) for record in written)

    @contextmanager
    def _turn(self) -> Generator[None]:
        """Keep other threads and processes out."""
        with self._mutex:
            self._lock.acquire(LOCK_TIMEOUT_S)
            try:
                yield
            finally:
                self._lock.release()

    def _checked_end(self) -> tuple[int, str]:
        """Return number and hash of the last record, having checked that the head vouches for it.

        Raises:
            AuditTampered: the log ends elsewhere than its head says, or where it did before.
        """
        head = self._signed_head()
        end = tail(self._database) or (0, "")
        if end[0] < max(head.seq, self._last_seq):
            raise AuditTampered(f"the audit log lost records after {end[0]}", hint=_TAMPERED_HINT)
        if end != (head.seq, head.hash):
            try:
                vouched = check_group_in_flight(self._database, head, self._signer)
            except BadRecord as bad:
                raise AuditTampered(str(bad), hint=_TAMPERED_HINT) from bad
            if vouched != end or end[0] == head.seq:
                raise AuditTampered("the audit log was rewritten", hint=_TAMPERED_HINT)
        return end

    def _signed_head(self) -> Head:
        """Return the head on disk; the signature is checked when its bytes are new."""
        try:
            content = self._place.head.read_bytes()
        except FileNotFoundError as error:
            raise AuditTampered("the audit log's head is missing", hint=_TAMPERED_HINT) from error
        if self._head is None or content != self._head_content:
            signed = parse_head(content)
            if not self._signer.is_head(signed):
                raise AuditTampered(
                    "the audit log's head is not signed by its key", hint=_TAMPERED_HINT
                )
            self._head, self._head_content = signed.head, content
        return self._head

    def _closing(self, recovered: Mapping[str, JsonObject]) -> list[Entry]:
        """Return records that close the intents of sessions which no process keeps alive.

        A request for approval that was open there has expired.
        """
        closing: list[Entry] = []
        for session_id, call_id, kind, seq in open_intents(self._database):
            if self._sessions.is_alive(session_id):
                continue
            if kind == RecordKind.CALL_PROPOSED:
                now = self._clock()
                closing += expired_requests(self._database, session_id, call_id, at=now)
            body: dict[str, JsonValue] = {"intent": kind, "intent_seq": seq}
            kind_of_close = RecordKind.INTENT_UNKNOWN
            if call_id in recovered:
                body["report"] = recovered[call_id]
                kind_of_close = RecordKind.INTENT_RECOVERED
            closing.append(
                Entry(kind=kind_of_close, body=body, session_id=session_id, call_id=call_id)
            )
        self._sessions.sweep()
        return closing

    def _linked(
        self, entries: Sequence[Entry], seq: int, prev: str, nonce: str | None
    ) -> list[Record]:
        """Return the records that continue the chain after `seq` and `prev`."""
        time = time_text(self._clock())
        records: list[Record] = []
        for entry in entries:
            body = redacted(body_from(canonical_json(entry.body)))
            if nonce is not None and entry.kind is RecordKind.APPROVAL_DECIDED:
                body[NONCE] = nonce
            seq += 1
            record = link(replace(entry, body=body), seq=seq, time=time, prev=prev)
            prev = record.hash
            records.append(record)
        return records

    def _move_head(self, seq: int, hash_: str) -> None:
        """Make the head name this record, durably."""
        if self._head is None:
            raise AuditTampered("the audit log's head was not read")
        if self._head.seq != seq:
            head = replace(self._head, seq=seq, hash=hash_, time=time_text(self._clock()))
            content = head_bytes(self._signer.sign_head(head))
            write_private(self._place.head, content)
            self._head, self._head_content = head, content
        self._last_seq = seq


@contextmanager
def _failing_closed() -> Generator[None]:
    """Turn whatever keeps a record from being durable into one error."""
    try:
        yield
    except (
        sqlite3.Error,
        OSError,
        TypeError,
        ValueError,
        RecursionError,
        AuditTampered,
    ) as error:
        hint = error.hint if isinstance(error, AuditTampered) else "free space or mend access"
        raise AuditWriteFailed(f"the audit log cannot be written: {error}", hint=hint) from error


def _use_up_expired(database: sqlite3.Connection, closing: Sequence[Record]) -> None:
    """Use up the requests that expired with their process: no late answer to them can count."""
    for record in closing:
        nonce = record.body.get(NONCE)
        if record.kind == RecordKind.APPROVAL_DECIDED and isinstance(nonce, str):
            use_up(database, nonce, record.seq)


def _refuse_unfit(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if NONCE in entry.body and entry.kind is RecordKind.APPROVAL_DECIDED:
            raise AuditWriteFailed("a decision's nonce is recorded by using it up: call decide")
        if entry.kind in INTENTS and not entry.call_id:
            raise AuditWriteFailed(f"{entry.kind} needs a call id, or nothing could close it")


def _proposes(entries: Sequence[Entry]) -> bool:
    return any(entry.kind is RecordKind.CALL_PROPOSED for entry in entries)


def _kind(kind: RecordKind | str) -> RecordKind:
    try:
        return RecordKind(kind)
    except ValueError as error:
        raise AuditWriteFailed(f"there are no records of kind {kind!r}") from error
