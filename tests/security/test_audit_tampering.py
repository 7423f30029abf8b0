"""Whoever changes the log without its key is found, and the first bad record is named.

The attacker has the user's files and a SQLite client, drops the triggers, and recomputes hashes
where that helps; only the private key is out of reach.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from luminaguard.audit.chain import hash_of
from luminaguard.audit.head import create_key, parse_head
from luminaguard.audit.log import AuditLog
from luminaguard.audit.place import head_bytes
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Entry, Record, RecordKind
from luminaguard.audit.store import COLUMNS, record_from, row_of
from luminaguard.audit.verify import Verification
from luminaguard.errors import AuditTampered, AuditWriteFailed

pytestmark = pytest.mark.guarantee("G7")

COUNT = 12
"""Records in the log under attack: the first is the log's own, 2 to 9 came one by one, 10 to 12 as
a group."""


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    log = AuditLog.open(tmp_path)
    for number in range(2, 8):
        body = {"call": {"tool": "shell", "arguments": {"n": number}}, "rules": ["pure-read"]}
        log.append("call.rehearsed", body, session_id="s", call_id=f"c{number}")
    log.append("call.proposed", {"n": 8}, session_id="s", call_id="c8")
    log.decide("used-nonce", {"decision": {"end": "approved"}}, session_id="s", call_id="c8")
    kind = RecordKind.CALL_REHEARSED
    log.append_all(
        [Entry(kind=kind, body={"n": n}, session_id="s", call_id="g") for n in (1, 2, 3)]
    )
    log.close()
    assert verification(tmp_path) == (True, None)
    return tmp_path


def verification(state_dir: Path) -> tuple[bool, int | None]:
    found = AuditReader(state_dir).verify()
    assert found.ok == (found.problem == "")
    return found.ok, found.first_bad_seq


@contextmanager
def attacking(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the database, triggers dropped; afterwards they are as before."""
    database = sqlite3.connect(state_dir / "audit" / "log.db", isolation_level=None)
    found = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    triggers = found.fetchall()
    for name, _ in triggers:
        database.execute(f"DROP TRIGGER {name}")
    yield database
    for _, definition in triggers:
        database.execute(definition)
    database.close()


def record_at(database: sqlite3.Connection, seq: int) -> Record:
    return record_from(
        database.execute(f"SELECT {COLUMNS} FROM record WHERE seq = ?", (seq,)).fetchone()
    )


def store(database: sqlite3.Connection, record: Record, signature: str | None) -> None:
    marks = ",".join("?" * 13)
    database.execute(f"INSERT OR REPLACE INTO record VALUES ({marks})", row_of(record, signature))


def signature_at(database: sqlite3.Connection, seq: int) -> str | None:
    row = database.execute("SELECT group_signature FROM record WHERE seq = ?", (seq,)).fetchone()
    return row[0]


def rewrite(database: sqlite3.Connection, first: int, last: int) -> None:
    """Change record `first` and make the chain fit again up to `last`."""
    prev = record_at(database, first - 1).hash
    for seq in range(first, last + 1):
        record = record_at(database, seq)
        body = {**record.body, "n": "forged"} if seq == first else record.body
        changed = replace(record, body=body, prev=prev)
        changed = replace(changed, hash=hash_of(changed))
        store(database, changed, signature_at(database, seq))
        prev = changed.hash


FLIPS = [
    (column, seq)
    for column in ("time", "kind", "session_id", "call_id", "body", "prev", "hash")
    for seq in (1, 2, 7, 10, 11, COUNT)
    if seq > 1 or column not in {"session_id", "call_id"}  # empty in the first record
]


@pytest.mark.parametrize(("column", "seq"), FLIPS)
def test_one_flipped_byte_in_any_column_is_found(state_dir: Path, column: str, seq: int) -> None:
    with attacking(state_dir) as database:
        value = database.execute(f"SELECT {column} FROM record WHERE seq = ?", (seq,)).fetchone()[0]
        content = bytearray(value if isinstance(value, bytes) else value.encode())
        content[len(content) // 2] ^= 1
        changed = bytes(content) if isinstance(value, bytes) else content.decode()
        database.execute(f"UPDATE record SET {column} = ? WHERE seq = ?", (changed, seq))
    assert verification(state_dir) == (False, seq)


@pytest.mark.parametrize("column", ["tool", "lane", "risk", "decision"])
def test_a_record_cannot_be_hidden_from_searches(state_dir: Path, column: str) -> None:
    with attacking(state_dir) as database:
        database.execute(f"UPDATE record SET {column} = 'other' WHERE seq = 5")
    assert verification(state_dir) == (False, 5)


@pytest.mark.parametrize("statement", [
    "DELETE FROM record_rule WHERE seq = 4",
    "INSERT INTO record_rule VALUES ('no-effect', 4)",
    "UPDATE record_rule SET rule = 'other' WHERE seq = 4",
])  # fmt: skip
def test_the_rules_of_a_record_cannot_be_changed(state_dir: Path, statement: str) -> None:
    with attacking(state_dir) as database:
        database.execute(statement)
    assert verification(state_dir) == (False, 4)


@pytest.mark.parametrize("seq", [1, 2, 8, 10, 11])
def test_a_deleted_record_is_named(state_dir: Path, seq: int) -> None:
    with attacking(state_dir) as database:
        database.execute("DELETE FROM record WHERE seq = ?", (seq,))
        database.execute("DELETE FROM record_rule WHERE seq = ?", (seq,))
    assert verification(state_dir) == (False, seq)
    assert AuditReader(state_dir).verify().problem == f"record {seq} is missing"


@pytest.mark.parametrize("left", [1, 5, 9, 10, 11])
def test_a_cut_off_end_is_found_and_nothing_is_appended_to_it(state_dir: Path, left: int) -> None:
    with attacking(state_dir) as database:
        for table in ("record", "record_rule", "consumed", "open_intent"):
            database.execute(f"DELETE FROM {table} WHERE seq > ?", (left,))
    assert verification(state_dir) == (False, left + 1)
    with pytest.raises(AuditTampered):
        AuditLog.open(state_dir)


def test_a_running_process_notices_that_the_end_was_cut_off(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    log.append("session.started", {}, session_id="s")
    head = (tmp_path / "audit" / "head.json").read_bytes()
    log.append("session.started", {}, session_id="s")
    with attacking(tmp_path) as database:
        database.execute("DELETE FROM record WHERE seq = 3")
    (tmp_path / "audit" / "head.json").write_bytes(head)  # an old head, rightly signed
    with pytest.raises(AuditWriteFailed):
        log.append("session.started", {}, session_id="s")
    log.close()


def test_two_swapped_records_are_found_at_the_first(state_dir: Path) -> None:
    with attacking(state_dir) as database:
        for old, new in ((3, -1), (6, 3), (-1, 6)):
            database.execute("UPDATE record SET seq = ? WHERE seq = ?", (new, old))
            database.execute("UPDATE record_rule SET seq = ? WHERE seq = ?", (new, old))
    assert verification(state_dir) == (False, 3)


@pytest.mark.parametrize("seq", [2, 5, 11])
def test_an_inserted_record_is_named(state_dir: Path, seq: int) -> None:
    with attacking(state_dir) as database:
        for later in range(COUNT, seq - 1, -1):
            for table in ("record", "record_rule", "consumed", "open_intent"):
                database.execute(f"UPDATE {table} SET seq = seq + 1 WHERE seq = ?", (later,))
        before = record_at(database, seq - 1)
        forged = replace(before, seq=seq, prev=before.hash, body={"n": "forged"}, hash="")
        store(database, replace(forged, hash=hash_of(forged)), None)
    ok, first_bad = verification(state_dir)
    assert not ok
    # Unsigned and chained, the forged record itself could have begun a group; what follows cannot.
    assert first_bad in {seq, seq + 1}


@pytest.mark.parametrize("signature", [None, "00" * 64, "previous"])
def test_a_record_appended_without_the_key_is_named_and_never_adopted(
    state_dir: Path, signature: str | None
) -> None:
    with attacking(state_dir) as database:
        if signature == "previous":
            signature = signature_at(database, COUNT)
        last = record_at(database, COUNT)
        forged = replace(last, seq=COUNT + 1, prev=last.hash, body={"n": "forged"}, hash="")
        store(database, replace(forged, hash=hash_of(forged)), signature)
    assert verification(state_dir) == (False, COUNT + 1)
    with pytest.raises(AuditTampered):
        AuditLog.open(state_dir)


@pytest.mark.parametrize(("first", "last"), [(2, 4), (3, COUNT), (9, 9), (9, COUNT)])
def test_a_rewritten_stretch_is_named_at_its_beginning(
    state_dir: Path, first: int, last: int
) -> None:
    with attacking(state_dir) as database:
        rewrite(database, first, last)
    assert verification(state_dir) == (False, first)


def test_a_rewritten_end_with_all_signatures_stripped_is_named_at_its_beginning(
    state_dir: Path,
) -> None:
    with attacking(state_dir) as database:
        rewrite(database, 6, COUNT)
        database.execute("UPDATE record SET group_signature = NULL WHERE seq >= 6")
    assert verification(state_dir) == (False, 6)


def _forge_seq(fields: dict[str, object]) -> None:
    fields["seq"] = 5


def _forge_hash(fields: dict[str, object]) -> None:
    fields["hash"] = "0" * 64


def _forge_log_id(fields: dict[str, object]) -> None:
    fields["log_id"] = "other"


@pytest.mark.parametrize("forge", [_forge_seq, _forge_hash, _forge_log_id])
def test_a_changed_head_is_found(
    state_dir: Path, forge: Callable[[dict[str, object]], None]
) -> None:
    path = state_dir / "audit" / "head.json"
    whole = json.loads(path.read_bytes())
    forge(whole["head"])
    path.write_text(json.dumps(whole))
    assert verification(state_dir) == (False, COUNT + 1)
    with pytest.raises(AuditTampered):
        AuditLog.open(state_dir)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"\xff", b'{"head": 1}'])
def test_a_missing_or_unreadable_head_is_found(state_dir: Path, content: bytes | None) -> None:
    path = state_dir / "audit" / "head.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert verification(state_dir) == (False, COUNT + 1)
    with pytest.raises((AuditTampered, AuditWriteFailed)):
        AuditLog.open(state_dir)


def test_a_groups_signature_does_not_pass_for_a_head(state_dir: Path) -> None:
    """Else the end could be cut off at any group, and the head forged from what is left."""
    path = state_dir / "audit" / "head.json"
    signed = parse_head(path.read_bytes())
    with attacking(state_dir) as database:
        signature = signature_at(database, 5)
        record = record_at(database, 5)
        for table in ("record", "record_rule", "consumed", "open_intent"):
            database.execute(f"DELETE FROM {table} WHERE seq > 5")
    assert signature is not None
    head = replace(signed.head, seq=5, hash=record.hash)
    path.write_bytes(head_bytes(replace(signed, head=head, signature=signature)))
    assert verification(state_dir) == (False, 6)


@pytest.mark.parametrize("swap_private_key", [False, True])
def test_a_log_signed_with_another_key_is_found(state_dir: Path, swap_private_key: bool) -> None:
    place = state_dir / "audit"
    other = create_key(state_dir / "other", state_dir / "other.pub")
    with attacking(state_dir) as database:
        rewrite(database, 2, COUNT)
        last = record_at(database, COUNT)
        database.execute(
            "UPDATE record SET group_signature = ? WHERE seq = ?",
            (other.sign_group_end(last.seq, last.hash), last.seq),
        )
    head = replace(parse_head((place / "head.json").read_bytes()).head, hash=last.hash)
    (place / "head.json").write_bytes(head_bytes(other.sign_head(head)))
    (state_dir / "other.pub").replace(place / "key.pub")
    if swap_private_key:
        (state_dir / "other").replace(place / "key")
    ok, first_bad = verification(state_dir)
    assert not ok
    assert first_bad == 1


@pytest.mark.parametrize("part", ["key", "key.pub", "log.db"])
def test_a_missing_part_is_found(state_dir: Path, part: str) -> None:
    (state_dir / "audit" / part).unlink()
    assert verification(state_dir) == (False, 1)


def test_a_used_approval_cannot_be_made_fresh_again(state_dir: Path) -> None:
    with attacking(state_dir) as database:
        database.execute("DELETE FROM consumed")
    assert verification(state_dir) == (False, 9)


def test_an_open_intent_cannot_be_forgotten(state_dir: Path) -> None:
    with attacking(state_dir) as database:
        database.execute("DELETE FROM open_intent")
    assert verification(state_dir) == (False, 8)


@pytest.mark.parametrize("statement", [
    "DROP TRIGGER record_is_kept",
    "DROP INDEX record_tool",
    "CREATE TRIGGER extra AFTER INSERT ON record BEGIN DELETE FROM consumed; END",
])  # fmt: skip
def test_changed_tables_and_triggers_are_found(state_dir: Path, statement: str) -> None:
    database = sqlite3.connect(state_dir / "audit" / "log.db", isolation_level=None)
    database.execute(statement)
    database.close()
    assert verification(state_dir)[0] is False


def test_an_index_that_lost_a_record_is_found(state_dir: Path) -> None:
    path = state_dir / "audit" / "log.db"
    with attacking(state_dir) as database:
        database.execute("PRAGMA writable_schema = ON")
        row = database.execute("SELECT sql FROM sqlite_master WHERE name = 'record_tool'")
        definition = row.fetchone()[0]
        database.execute("UPDATE sqlite_master SET sql = sql || ' AND seq <> 4' WHERE name = ?",
                         ("record_tool",))  # fmt: skip
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("REINDEX record_tool")
    database.execute("PRAGMA writable_schema = ON")
    database.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'record_tool'", (definition,))
    database.close()
    assert verification(state_dir)[0] is False


def test_flipping_any_byte_of_the_file_never_verifies_with_other_content(state_dir: Path) -> None:
    path = state_dir / "audit" / "log.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    original = path.read_bytes()
    before = _contents(state_dir)
    found_bad = 0
    for at in range(0, len(original), 499):
        path.write_bytes(original[:at] + bytes([original[at] ^ 0x41]) + original[at + 1 :])
        found = AuditReader(state_dir).verify()
        found_bad += not found.ok
        if found.ok:  # free space, page slack or a counter: the records are what they were
            assert _contents(state_dir) == before
    assert found_bad > 5


def _contents(state_dir: Path) -> tuple[Verification, list[dict[str, object]]]:
    reader = AuditReader(state_dir)
    records = [reader.get(seq) for seq in range(1, COUNT + 2)]
    return reader.verify(), [dict(record.as_json()) for record in records if record]
