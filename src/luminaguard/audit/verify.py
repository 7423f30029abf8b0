"""Finding out whether the log is what was written, and if not, which record is the first bad one.

What is checked: every record's hash and place in the chain; the head's signature and that the
chain reaches it with the same hash; that records after the head are a group in flight; that search
columns, used approvals and open intents fit the records; that tables and triggers are unchanged.

**The group in flight.** A crash between the database's commit and the head's replacement leaves
records that no head covers. They are told from records that somebody appended without the key by a
signature on the last record of each group, made before the commit for another purpose than a head:
with it, the head may be moved forward; without it, they are tampering. Such a signature cannot pass
for a head, so it does not help to hide a truncation.

**Records that were taken out.** `audit prune` moves the oldest records into an export and leaves a
signed root that names the last of them; the chain then begins behind it.

What this cannot show: a rewrite by somebody who has the key, and the return of database and head
together to an older state. Keep a copy of the head elsewhere, or export, against both.
"""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from luminaguard.audit.chain import FIRST_PREV, hash_of
from luminaguard.audit.head import Head, SignedHead, Verifier
from luminaguard.audit.records import INTENTS, Facts, Record, RecordKind, facts_of
from luminaguard.audit.store import COLUMNS, NONCE, SCHEMA, Row, closed_by, record_from
from luminaguard.domain.calls import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What verifying a log found."""

    ok: bool
    count: int
    """Number of the last good record."""
    taken_out: int = 0
    """Records that were taken out before; they are in exports."""
    first_bad_seq: int | None = None
    """The first record that is wrong, missing, or vouched for by nothing."""
    problem: str = ""
    """What is wrong, for people; empty when nothing is."""
    head: Head | None = None
    in_flight: int = 0
    """Good records that the head does not cover yet: a crash's last group."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form of `audit verify --json`."""
        return {
            "ok": self.ok,
            "count": self.count,
            "taken_out": self.taken_out,
            "first_bad_seq": self.first_bad_seq,
            "problem": self.problem,
            "head": self.head.as_json() if self.head else None,
            "in_flight": self.in_flight,
        }


class BadRecord(Exception):
    """A record is not what was written."""

    def __init__(self, seq: int | None, problem: str) -> None:
        super().__init__(problem)
        self.seq = seq


@dataclass(slots=True)
class _Walk:
    """What a walk along the chain has seen."""

    count: int = 0
    hash: str = FIRST_PREV
    hash_at_head: str | None = None
    intents: dict[tuple[str, str | None, str], int] = field(
        default_factory=dict[tuple[str, str | None, str], int]
    )
    nonces: dict[str, int] = field(default_factory=dict[str, int])


def verify(
    database: sqlite3.Connection,
    signed: SignedHead | None,
    verifier: Verifier,
    root: SignedHead | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Check the whole log within the caller's read transaction.

    Args:
        database: The records.
        signed: The head; None when it is missing or cannot be read.
        verifier: The log's key.
        root: Up to where records were taken out; None when none ever were.
        progress: Told the number of the record that was checked, now and then.
    """
    walk = _Walk()
    head = signed.head if signed else None
    taken_out = root.head.seq if root else 0
    try:
        _begin_behind(database, walk, root, head, verifier)
        _walk_chain(database, walk, head, verifier, root, progress)
        _check_head(database, walk, signed, verifier)
        _check_schema(database)
        _check_indexes(database)
        _check_used_approvals(database, walk)
        _check_open_intents(database, walk)
    except BadRecord as bad:
        return Verification(
            ok=False, count=walk.count, first_bad_seq=bad.seq, problem=str(bad), head=head
        )
    except sqlite3.DatabaseError as error:
        first = walk.count + 1
        problem = f"record {first} cannot be read: {error}"
        return Verification(
            ok=False, count=walk.count, first_bad_seq=first, problem=problem, head=head
        )
    in_flight = walk.count - head.seq if head else 0
    return Verification(
        ok=True, count=walk.count, taken_out=taken_out, head=head, in_flight=in_flight
    )


def check_group_in_flight(
    database: sqlite3.Connection, head: Head, verifier: Verifier
) -> tuple[int, str]:
    """Return number and hash of the last record after `head`, if the key holder wrote them all.

    Raises:
        BadRecord: somebody else did.
    """
    seq, prev = head.seq, head.hash
    for row in database.execute(f"{_ROWS} WHERE seq > ? ORDER BY seq", (head.seq,)):
        record, _ = _checked(row, seq + 1, prev)
        seq, prev = record.seq, record.hash
    if seq > head.seq:
        _check_tail_signature(database, head, verifier, seq)
    return seq, prev


_ROWS = f"SELECT {COLUMNS}, group_signature, tool, lane, risk, decision FROM record"  # noqa: S608


PROGRESS_EVERY = 5_000


def _begin_behind(
    database: sqlite3.Connection,
    walk: _Walk,
    root: SignedHead | None,
    head: Head | None,
    verifier: Verifier,
) -> None:
    """Let the walk begin behind the records that were taken out.

    A removal that a crash cut short left records up to the root: they are walked, too, and the
    chain must come by the root's hash.
    """
    if root is None:
        return
    if not verifier.is_root(root):
        raise BadRecord(1, "the root of a log that was cut is not signed by the log's key")
    if head and head.log_id != root.head.log_id:
        raise BadRecord(1, "the root is another log's")
    first: Row | None = database.execute(f"{_ROWS} ORDER BY seq LIMIT 1").fetchone()
    if first is None or first[0] > root.head.seq:
        walk.count, walk.hash = root.head.seq, root.head.hash
    elif first[0] > 1:
        walk.count, walk.hash = int(first[0]) - 1, str(first[6])


def _walk_chain(
    database: sqlite3.Connection,
    walk: _Walk,
    head: Head | None,
    verifier: Verifier,
    root: SignedHead | None,
    progress: Callable[[int], None],
) -> None:
    rules = _Rules(database)
    for row in database.execute(f"{_ROWS} ORDER BY seq"):
        try:
            record, facts = _checked(row, walk.count + 1, walk.hash)
            if record.seq == 1:
                _check_first(record, verifier)
            rules.check(record.seq, facts)
        except BadRecord as bad:
            raise _earliest(database, verifier, bad) from bad
        walk.count, walk.hash = record.seq, record.hash
        if root and root.head.seq == record.seq and root.head.hash != record.hash:
            raise BadRecord(record.seq, f"record {record.seq} was rewritten: the root has another")
        if record.seq % PROGRESS_EVERY == 0:
            progress(record.seq)
        if head and head.seq == record.seq:
            walk.hash_at_head = record.hash
        _note(walk, record)


def _checked(row: Row, seq: int, prev: str) -> tuple[Record, Facts]:
    """Return a row's record, and what it is found by, if it is the one that follows."""
    if row[0] != seq:
        raise BadRecord(seq, f"record {seq} is missing")
    try:
        record = record_from(row)
        is_hash_right = hash_of(record, row[5]) == record.hash
        facts = facts_of(record.body)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRecord(seq, f"record {seq} cannot be read: {error}") from error
    if not is_hash_right:
        raise BadRecord(seq, f"record {seq} does not match its hash")
    if record.prev != prev:
        raise BadRecord(seq, f"record {seq} does not continue the record before it")
    if (facts.tool, facts.lane, facts.risk, facts.decision) != row[9:]:
        raise BadRecord(seq, f"record {seq} cannot be found by what it is about any more")
    return record, facts


def _check_first(record: Record, verifier: Verifier) -> None:
    if record.kind != RecordKind.LOG_CREATED or record.body.get("public_key") != (
        verifier.public_key
    ):
        raise BadRecord(1, "the log was begun with another key than the one that is here")


class _Rules:
    """Walks the table of rules beside the records."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._rows: Iterator[Row] = iter(
            database.execute("SELECT seq, rule FROM record_rule ORDER BY seq, rule")
        )
        self._next: Row | None = next(self._rows, None)

    def check(self, seq: int, facts: Facts) -> None:
        found: list[str] = []
        while self._next and self._next[0] <= seq:
            found.append(str(self._next[1]))
            self._next = next(self._rows, None)
        if tuple(found) != facts.rules:
            raise BadRecord(seq, f"record {seq} cannot be found by its rules any more")


def _note(walk: _Walk, record: Record) -> None:
    """Remember what the record means for intents and used approvals."""
    key = (record.session_id, record.call_id)
    if record.kind in INTENTS:
        walk.intents[*key, record.kind] = record.seq
    elif closed := closed_by(record):
        walk.intents.pop((*key, closed), None)
    nonce = record.body.get(NONCE)
    if record.kind == RecordKind.APPROVAL_DECIDED and isinstance(nonce, str):
        walk.nonces.setdefault(nonce, record.seq)


def _check_head(
    database: sqlite3.Connection, walk: _Walk, signed: SignedHead | None, verifier: Verifier
) -> None:
    vouched, _ = _vouched(database, verifier, walk.count + 1)
    if signed is None:
        raise BadRecord(
            vouched + 1, f"the head is missing: nothing vouches for more than {vouched}"
        )
    if not verifier.is_head(signed):
        problem = "the head is not signed by this log's key"
        raise BadRecord(vouched + 1, f"{problem}: nothing vouches for more than {vouched}")
    head = signed.head
    if head.seq > walk.count:
        raise BadRecord(walk.count + 1, f"records {walk.count + 1} to {head.seq} are missing")
    if walk.hash_at_head != head.hash:
        raise BadRecord(
            vouched + 1, f"record {vouched + 1} was rewritten: the head has another hash"
        )
    if walk.count > head.seq:
        _check_tail_signature(database, head, verifier, walk.count)


def _check_tail_signature(
    database: sqlite3.Connection, head: Head, verifier: Verifier, last: int
) -> None:
    """Check that the records after the head end where the key's holder ended a group."""
    vouched, _ = _vouched(database, verifier, last + 1)
    if vouched != last:
        first = max(head.seq, vouched) + 1
        raise BadRecord(first, f"record {first} was appended by somebody without the key")


def _vouched(database: sqlite3.Connection, verifier: Verifier, before: int) -> tuple[int, bool]:
    """Return the last record before `before` that ends a signed group (0: none).

    The second value says that a later one claims to, with a signature that does not hold.
    """
    saw_false = False
    for seq, hash_, signature in database.execute(
        "SELECT seq, hash, group_signature FROM record"
        " WHERE seq < ? AND group_signature IS NOT NULL ORDER BY seq DESC",
        (before,),
    ):
        if verifier.is_group_end(seq, hash_, signature):
            return seq, saw_false
        saw_false = True
    return 0, saw_false


def _earliest(database: sqlite3.Connection, verifier: Verifier, bad: BadRecord) -> BadRecord:
    """Return where the trouble began: a chain can be rewritten for a stretch before it breaks."""
    if bad.seq is None:
        return bad
    vouched, saw_false = _vouched(database, verifier, bad.seq)
    first = vouched + 1
    return BadRecord(first, f"record {first} was rewritten") if saw_false else bad


def _check_used_approvals(database: sqlite3.Connection, walk: _Walk) -> None:
    stored = {str(nonce): int(seq) for nonce, seq in database.execute("SELECT * FROM consumed")}
    odd = [seq for _, seq in set(stored.items()) ^ set(walk.nonces.items())]
    if odd:
        raise BadRecord(min(odd), "the list of used approvals does not fit the records")


def _check_open_intents(database: sqlite3.Connection, walk: _Walk) -> None:
    rows = database.execute("SELECT session_id, call_id, kind, seq FROM open_intent")
    stored = {(str(row[0]), str(row[1]), str(row[2])): int(row[3]) for row in rows}
    odd = [seq for _, seq in set(stored.items()) ^ set(walk.intents.items())]
    if odd:
        raise BadRecord(min(odd), "the list of open intents does not fit the records")


def _check_schema(database: sqlite3.Connection) -> None:
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.executescript(SCHEMA)
        if _definitions(fresh) != _definitions(database):
            raise BadRecord(None, "the database's tables or triggers were changed")
    finally:
        fresh.close()


def _check_indexes(database: sqlite3.Connection) -> None:
    """Check that the indexes hold every record: queries go by them."""
    found = str(database.execute("PRAGMA integrity_check(1)").fetchone()[0])
    if found != "ok":
        raise BadRecord(None, f"the database is damaged: {found}")


def _definitions(database: sqlite3.Connection) -> set[Row]:
    return set(database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall())
