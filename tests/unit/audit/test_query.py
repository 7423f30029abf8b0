"""Finding records."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from luminaguard.audit.log import AuditLog
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.errors import AuditError

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def reader(tmp_path: Path) -> AuditReader:
    """Five records after the first, one minute apart: numbers 2 to 6."""
    moments = (START + timedelta(minutes=n) for n in range(100))
    moment = START
    log = AuditLog.open(tmp_path, clock=lambda: moment)
    rows = [
        ("s1", "c1", "shell", "green", "low", ["pure-read"], None, {"command": "ls -l"}),
        ("s1", "c2", "shell", "red", "high", ["reads-secret", "x"], None, {"command": "cat 100%_"}),
        ("s2", "c1", "exec", "red", "medium", ["effect-unknown"], None, {"argv": ["Make", 'a"b']}),
        ("s2", "c1", "exec", None, None, [], "approved", {}),
        ("s2", "c2", "exec", None, None, [], "rejected", {"note": "größer\n\u202e"}),
    ]
    for session, call, tool, lane, risk, rules, end, extra in rows:
        moment = next(moments)
        body = {"call": {"tool": tool, "arguments": extra}}
        if lane:
            body["verdict"] = {"lane": lane, "risk": risk, "rules": rules}
        if end:
            body["decision"] = {"end": end}
        log.append("call.rehearsed", body, session_id=session, call_id=call)
    log.close()
    return AuditReader(tmp_path)


@pytest.mark.parametrize(("query", "expected"), [
    (Query(tool="shell"), [3, 2]),
    (Query(tool="shell", newest_first=False), [2, 3]),
    (Query(lane="red"), [4, 3]),
    (Query(risk="high"), [3]),
    (Query(rule="x"), [3]),
    (Query(rule="effect-unknown", tool="shell"), []),
    (Query(decision="approved"), [5]),
    (Query(session_id="s2", call_id="c1"), [5, 4]),
    (Query(kind="log.created"), [1]),
    (Query(text="make"), [4]),
    (Query(text='a"b'), [4]),
    (Query(text="100%_"), [3]),
    (Query(text="100_"), []),
    (Query(text="größer\n\u202e"), [6]),
    (Query(since=START + timedelta(minutes=3)), [6, 5]),
    (Query(since=START, until=START + timedelta(minutes=1), kind="call.rehearsed"), [2]),
    (Query(rule="x", newest_first=False, lane="red"), [3]),
    (Query(rule="x", session_id="s1"), [3]),
    (Query(rule="x", session_id="s2"), []),
    (Query(rule="x", since=START, until=START + timedelta(hours=1)), [3]),
    (Query(tool="exec", until=START + timedelta(minutes=3)), [4]),
    (Query(since=START, text="make", newest_first=False), [4]),
    (Query(call_id="c1", decision="approved", tool="exec", kind="call.rehearsed"), [5]),
    (Query(limit=2), [6, 5]),
    (Query(limit=0, newest_first=False), [1, 2, 3, 4, 5, 6]),
    (Query(session_id="' OR 1=1 --"), []),
])  # fmt: skip
def test_queries_find_exactly_what_matches(
    reader: AuditReader, query: Query, expected: list[int]
) -> None:
    assert [record.seq for record in reader.find(query)] == expected


def test_the_first_record_has_the_time_of_the_first_call(reader: AuditReader) -> None:
    assert [record.seq for record in reader.find(Query(until=START))] == []


def test_a_record_that_does_not_exist_is_none(reader: AuditReader) -> None:
    assert reader.get(99) is None


def test_reading_where_no_log_was_begun_says_so(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no audit log"):
        AuditReader(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
