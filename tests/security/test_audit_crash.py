"""A process killed between a record and its effect leaves an intent that is closed as unknown."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from luminaguard.audit.log import AuditLog
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader

pytestmark = pytest.mark.guarantee("G7")

_VICTIM = """
import sys
from pathlib import Path
from luminaguard.audit.log import AuditLog
log = AuditLog.open(Path(sys.argv[1]))
log.append("call.proposed", {"call": {"tool": "exec"}}, session_id="victim", call_id="c1")
log.append("call.outcome", {"outcome": "executed"}, session_id="victim", call_id="c1")
log.append("call.proposed", {"call": {"tool": "exec"}}, session_id="victim", call_id="c2")
log.append("commit.started", {"changeset_digest": "d"}, session_id="victim", call_id="c2")
print("recorded", flush=True)
sys.stdin.readline()
"""


@contextmanager
def victim(state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Give a process that recorded intents and now stands right before its effect."""
    process = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)


def closes(state_dir: Path) -> list[tuple[str, str | None, object]]:
    found = AuditReader(state_dir).find(Query(text="intent_seq", newest_first=False))
    return [(record.kind, record.call_id, record.body["intent"]) for record in found]


def test_open_intents_of_a_killed_process_are_closed_as_unknown_before_any_new_call(
    tmp_path: Path,
) -> None:
    with victim(tmp_path) as process:
        kill(process)
    log = AuditLog.open(tmp_path)
    ref = log.append("call.proposed", {"call": {"tool": "exec"}}, session_id="new", call_id="n1")
    log.close()
    assert closes(tmp_path) == [
        ("intent.unknown", "c2", "call.proposed"),
        ("intent.unknown", "c2", "commit.started"),
    ]
    last_close = AuditReader(tmp_path).find(Query(kind="intent.unknown", limit=1))[0]
    assert last_close.seq == ref.seq - 1
    assert AuditReader(tmp_path).verify().ok


def test_what_recovery_found_out_is_recorded_instead_of_unknown(tmp_path: Path) -> None:
    with victim(tmp_path) as process:
        kill(process)
    log = AuditLog.open(tmp_path)
    log.close_open_intents({"c2": {"state": "rolled back"}})
    log.append("call.proposed", {}, session_id="new", call_id="n1")
    log.close()
    assert [kind for kind, _, _ in closes(tmp_path)] == ["intent.recovered"] * 2
    found = AuditReader(tmp_path).find(Query(kind="intent.recovered"))
    assert [record.body["report"] for record in found] == [{"state": "rolled back"}] * 2
    assert AuditReader(tmp_path).verify().ok


def test_intents_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    with victim(tmp_path) as process:
        log = AuditLog.open(tmp_path)
        assert log.close_open_intents() == ()
        kill(process)
        assert len(log.close_open_intents()) == 2
        assert log.close_open_intents() == ()
        log.close()


def test_a_session_of_another_log_in_the_same_process_is_alive_until_it_ends(
    tmp_path: Path,
) -> None:
    first, second = AuditLog.open(tmp_path), AuditLog.open(tmp_path)
    first.append("call.proposed", {}, session_id="s", call_id="c")
    assert second.close_open_intents() == ()
    first.end_session("s")
    assert len(second.close_open_intents()) == 1
    first.close()
    second.close()
    assert list((tmp_path / "audit" / "sessions").iterdir()) == []


@pytest.mark.parametrize("left_behind", [False, True])
def test_a_crash_between_the_records_and_the_head_is_mended_not_called_tampering(
    tmp_path: Path, left_behind: bool
) -> None:
    log = AuditLog.open(tmp_path)
    head = tmp_path / "audit" / "head.json"
    before = head.read_bytes()
    log.append("call.proposed", {"n": 1}, session_id="s", call_id="c")
    log.close()
    head.write_bytes(before)  # what a power cut right after the database's commit leaves
    if left_behind:
        (tmp_path / "audit" / ".head.json.1.incoming").write_bytes(b"{")
    found = AuditReader(tmp_path).verify()
    assert (found.ok, found.count, found.in_flight) == (True, 2, 1)
    again = AuditLog.open(tmp_path)
    again.append("session.started", {}, session_id="t")
    again.close()
    found = AuditReader(tmp_path).verify()
    assert (found.ok, found.count, found.in_flight) == (True, 3, 0)


_KILLED_AT_A_SYNC = """
import os, signal, sys
from pathlib import Path
from luminaguard.audit import files
from luminaguard.audit.log import AuditLog
state, survives = Path(sys.argv[1]), int(sys.argv[2])
log = AuditLog.open(state)
steps = 0
def dying(name):
    real = getattr(os, name)
    def step(*arguments, **named):
        global steps
        steps += 1
        if steps > survives:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    setattr(os, name, step)
for name in ("open", "fsync", "close", "replace", "rename"):
    dying(name)
for number in range(2):
    ref = log.append("call.proposed", {"n": number}, session_id="s", call_id=f"c{number}")
    sys.stdout.write(f"{ref.seq}\\n")
    sys.stdout.flush()
print("done", flush=True)
os._exit(0)
"""


def test_killed_at_any_step_of_an_append_no_answered_record_is_lost(tmp_path: Path) -> None:
    survived_all = False
    for steps in range(60):
        state_dir = tmp_path / str(steps)
        ran = subprocess.run(
            [sys.executable, "-c", _KILLED_AT_A_SYNC, str(state_dir), str(steps)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        answered = [int(line) for line in ran.stdout.split() if line.isdigit()]
        found = AuditReader(state_dir).verify()
        assert found.ok, found.problem
        assert found.count >= max(answered, default=1)
        assert found.count <= max(answered, default=1) + 1
        AuditLog.open(state_dir).close()
        assert AuditReader(state_dir).verify().in_flight == 0
        survived_all = "done" in ran.stdout
        if survived_all:
            break
        assert ran.returncode == -signal.SIGKILL
    assert survived_all
    assert steps > 10
