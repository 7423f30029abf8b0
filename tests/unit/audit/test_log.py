"""Appending: durable, exclusive, fail closed."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from luminaguard.audit.log import AuditLog
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Entry, RecordKind
from luminaguard.errors import ApprovalSpent, AuditTampered, AuditWriteFailed


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC)
    log = AuditLog.open(tmp_path, clock=lambda: moment)
    ref = log.append("call.proposed", {"call": {"tool": "exec"}}, session_id="s", call_id="c")
    log.close()
    record = AuditReader(tmp_path).get(ref.seq)
    assert record is not None
    assert (record.seq, record.hash) == (ref.seq, ref.hash)
    assert record.time == "2026-01-31T12:00:00.000005Z"
    assert (record.kind, record.session_id, record.call_id) == ("call.proposed", "s", "c")
    assert record.body == {"call": {"tool": "exec"}}


def test_what_python_calls_a_tuple_or_an_int_key_reads_back_as_json_does(
    tmp_path: Path, log: AuditLog
) -> None:
    body = {"x": ("a", 1.5, None), "n": {10: 1, 9: 2}, "odd": "\ud800"}
    ref = log.append("session.started", body, session_id="s")  # type: ignore[arg-type]
    record = AuditReader(tmp_path).get(ref.seq)
    assert record is not None
    assert record.body == json.loads(json.dumps(body))
    assert AuditReader(tmp_path).verify().ok


def test_the_directory_and_the_key_are_for_the_owner_alone(tmp_path: Path, log: AuditLog) -> None:
    place = tmp_path / "audit"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for name in ("key", "log.db", "head.json"):
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o600


@pytest.mark.guarantee("G7")
def test_the_head_is_durable_and_names_the_record_when_append_returns(
    tmp_path: Path, log: AuditLog
) -> None:
    for number in range(3):
        ref = log.append("session.started", {"n": number}, session_id="s")
        head = json.loads((tmp_path / "audit" / "head.json").read_bytes())["head"]
        assert (head["seq"], head["hash"]) == (ref.seq, ref.hash)


def test_a_group_is_recorded_in_order_or_not_at_all(tmp_path: Path, log: AuditLog) -> None:
    kind = RecordKind.CALL_REHEARSED
    good = [Entry(kind=kind, body={"n": n}, session_id="s", call_id="c") for n in range(5)]
    refs = log.append_all(good)
    assert [ref.seq for ref in refs] == [2, 3, 4, 5, 6]
    bad = Entry(kind=kind, body={"n": float("nan")}, session_id="s", call_id="c")
    with pytest.raises(AuditWriteFailed):
        log.append_all([*good, bad])
    assert AuditReader(tmp_path).verify().count == 6


@pytest.mark.parametrize(
    ("kind", "call_id"), [("made.up", "c"), ("call.proposed", None), ("commit.started", "")]
)
def test_an_unknown_kind_or_an_intent_that_nothing_can_close_is_refused(
    log: AuditLog, kind: str, call_id: str | None
) -> None:
    with pytest.raises(AuditWriteFailed):
        log.append(kind, {}, session_id="s", call_id=call_id)


@pytest.mark.guarantee("G2")
def test_an_approval_is_used_up_once_even_by_another_process(tmp_path: Path, log: AuditLog) -> None:
    log.decide("nonce", {"decision": {"end": "approved"}}, session_id="s", call_id="c")
    with pytest.raises(ApprovalSpent):
        log.decide("nonce", {"decision": {"end": "approved"}}, session_id="s", call_id="c")
    other = AuditLog.open(tmp_path)
    with pytest.raises(ApprovalSpent):
        other.decide("nonce", {"decision": {"end": "approved"}}, session_id="t", call_id="c")
    other.close()
    assert len(AuditReader(tmp_path).find(Query(kind="approval.decided"))) == 1
    assert AuditReader(tmp_path).verify().ok


def test_a_nonce_cannot_be_recorded_without_being_used_up(log: AuditLog) -> None:
    with pytest.raises(AuditWriteFailed):
        log.append("approval.decided", {"nonce": "n"}, session_id="s", call_id="c")


def test_records_cannot_be_changed_deleted_or_skipped_by_accident(
    tmp_path: Path, log: AuditLog
) -> None:
    log.decide("nonce", {}, session_id="s", call_id="c")
    database = sqlite3.connect(tmp_path / "audit" / "log.db", isolation_level=None)
    row = "SELECT seq + ?, time, kind, session_id, call_id, body, prev, hash, group_signature"
    row += ", tool, lane, risk, decision FROM record WHERE seq = 1"
    for statement, values in [
        ("UPDATE record SET body = x'00' WHERE seq = 1", ()),
        ("DELETE FROM record WHERE seq = 1", ()),
        (f"INSERT INTO record {row}", (5,)),
        (f"INSERT OR REPLACE INTO record {row}", (0,)),
        ("DELETE FROM consumed", ()),
        ("UPDATE consumed SET nonce = 'other'", ()),
    ]:
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement, values)
    database.close()
    assert AuditReader(tmp_path).verify().ok


def test_threads_and_several_logs_append_without_losing_or_mixing_records(tmp_path: Path) -> None:
    logs = [AuditLog.open(tmp_path) for _ in range(2)]

    def write(log: AuditLog, name: str) -> None:
        for number in range(20):
            log.append("call.rehearsed", {"n": number}, session_id=name, call_id=name)

    threads = [
        threading.Thread(target=write, args=(log, f"{at}{letter}"))
        for at, log in enumerate(logs)
        for letter in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    reader = AuditReader(tmp_path)
    for name in ("0a", "0b", "1a", "1b"):
        found = reader.find(Query(session_id=name, newest_first=False))
        assert [record.body["n"] for record in found] == list(range(20))
    assert reader.verify().count == 81
    for log in logs:
        log.close()


_WRITER = """
import sys
from pathlib import Path
from luminaguard.audit.log import AuditLog
log = AuditLog.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    log.append("call.rehearsed", {"n": number}, session_id=sys.argv[2], call_id="c")
log.close()
"""


@pytest.mark.guarantee("G7")
def test_two_processes_append_to_one_unbroken_chain(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0
    reader = AuditReader(tmp_path)
    assert reader.verify().ok
    for name in ("one", "two"):
        found = reader.find(Query(session_id=name, newest_first=False))
        assert [record.body["n"] for record in found] == list(range(50))


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from luminaguard.audit.log import AuditLog
from luminaguard.errors import AuditWriteFailed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = AuditLog.open(Path(sys.argv[1]))
log.append("call.rehearsed", {"n": 1}, session_id="s", call_id="c")
resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))
refused = 0
for number in range(30):
    try:
        log.append("call.rehearsed", {"fill": "x" * 8192}, session_id="s", call_id="c")
    except AuditWriteFailed:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = log.append("call.rehearsed", {"n": 2}, session_id="s", call_id="c")
log.close()
print(refused, after.seq)
"""


@pytest.mark.guarantee("G7")
def test_on_a_full_disk_appending_fails_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    refused, last = map(int, ran.stdout.split())
    assert refused > 0
    found = AuditReader(tmp_path).verify()
    assert (found.ok, found.count) == (True, last)


def test_a_head_that_cannot_be_written_refuses_the_record_and_recovers(
    tmp_path: Path, log: AuditLog
) -> None:
    in_the_way = tmp_path / "audit" / f".head.json.{os.getpid()}.incoming"
    in_the_way.mkdir()
    with pytest.raises(AuditWriteFailed):
        log.append("call.rehearsed", {"n": 1}, session_id="s", call_id="c")
    in_the_way.rmdir()
    assert AuditReader(tmp_path).verify().in_flight == 1
    log.append("call.rehearsed", {}, session_id="s", call_id="c")
    assert AuditReader(tmp_path).verify().ok


def test_a_log_that_lost_a_part_is_not_begun_anew(tmp_path: Path) -> None:
    AuditLog.open(tmp_path).close()
    for name in ("key", "log.db", "head.json"):
        part = tmp_path / "audit" / name
        content = part.read_bytes()
        part.unlink()
        with pytest.raises(AuditTampered):
            AuditLog.open(tmp_path)
        assert not AuditReader(tmp_path).verify().ok
        part.write_bytes(content)
    AuditLog.open(tmp_path).close()


def test_an_interrupted_first_start_leaves_no_half_log(tmp_path: Path) -> None:
    def broken_clock() -> datetime:
        raise OSError("power cut")

    with pytest.raises(AuditWriteFailed):
        AuditLog.open(tmp_path, clock=broken_clock)
    assert [path.name for path in tmp_path.iterdir()] == [".audit.lock"]
    AuditLog.open(tmp_path).close()
    assert AuditReader(tmp_path).verify().ok
