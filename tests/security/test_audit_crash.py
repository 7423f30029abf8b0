"""A process killed between a record and its effect leaves an intent that is closed as unknown."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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


def run_until_killed(state_dir: Path, survives: int, *, is_first_start: bool) -> str:
    """Append in a forked process that dies at its step `survives`; return what it answered."""
    answers, answering = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            log = None if is_first_start else AuditLog.open(state_dir)
            die_after(survives)
            log = log or AuditLog.open(state_dir)
            for number in range(2):
                ref = log.append("call.proposed", {}, session_id="s", call_id=f"c{number}")
                os.write(answering, f"{ref.seq} ".encode())
            os.write(answering, b"done")
        finally:
            os._exit(1)
    os.close(answering)
    with open(answers, encoding="ascii") as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    assert "done" in text or os.WTERMSIG(status) == signal.SIGKILL
    return text


def die_after(survives: int) -> None:
    """Kill this process at the file operation after so many."""
    left = iter(range(survives))

    def dying(operation: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **named: object) -> object:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **named)

        return step

    for name in ("open", "mkdir", "fsync", "close", "replace", "rename"):
        setattr(os, name, dying(getattr(os, name)))


@pytest.mark.parametrize("is_first_start", [True, False])
def test_killed_at_any_step_no_answered_record_is_lost_and_the_log_goes_on(
    tmp_path: Path, is_first_start: bool
) -> None:
    steps, text = 0, ""
    while "done" not in text and steps < 100:
        state_dir = tmp_path / str(steps)
        text = run_until_killed(state_dir, steps, is_first_start=is_first_start)
        answered = max((int(word) for word in text.split() if word.isdigit()), default=1)
        AuditLog.open(state_dir).close()
        found = AuditReader(state_dir).verify()
        assert found.ok, found.problem
        assert answered <= found.count <= answered + 1
        assert found.in_flight == 0
        assert {path.name for path in state_dir.iterdir()} == {"audit", ".audit.lock"}
        steps += 1
    assert "done" in text
    assert steps > 10
