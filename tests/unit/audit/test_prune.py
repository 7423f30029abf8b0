"""Old records can be taken out; what stays verifies, and so does what was taken out."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from luminaguard.audit import prune as pruning
from luminaguard.audit.log import AuditLog
from luminaguard.audit.prune import prune
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.errors import AuditError

VERIFIER = Path(__file__).parents[3] / "examples" / "verify_audit.py"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Stands still until a day passes."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def next_day(self) -> None:
        self.now += timedelta(days=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state_dir(tmp_path: Path, clock: Clock) -> Path:
    log = AuditLog.open(tmp_path / "state", clock)  # the first record, on day 0
    for number in range(20):
        clock.next_day()
        log.append("session.started", {"n": number, "rules": ["r"]}, session_id="s")
    log.decide("nonce", {"decision": {"end": "approved"}}, session_id="s", call_id="c")
    log.append("session.ended", {}, session_id="s")
    log.close()
    return tmp_path / "state"


def accepted(export: Path) -> str:
    ran = subprocess.run(
        [sys.executable, VERIFIER, export], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stderr == ""
    return "" if ran.returncode == 0 else ran.stdout


def numbers(state_dir: Path) -> list[int]:
    found = AuditReader(state_dir).find(Query(newest_first=False, limit=0))
    return [record.seq for record in found]


def day(number: int) -> datetime:
    """The moment that so many records are older than."""
    return START + timedelta(days=number - 1, hours=1)


def test_what_stays_and_what_was_taken_out_both_verify(
    state_dir: Path, tmp_path: Path, clock: Clock
) -> None:
    done = prune(state_dir, day(10), tmp_path / "old.jsonl", clock)
    assert (done.records, done.through) == (10, 10)
    assert numbers(state_dir)[0] == 11
    verified = AuditReader(state_dir).verify()
    assert (verified.ok, verified.taken_out) == (True, 10)
    assert accepted(tmp_path / "old.jsonl") == ""
    with (tmp_path / "rest.jsonl").open("wb") as rest:
        assert AuditReader(state_dir).export(rest) == len(numbers(state_dir))
    assert accepted(tmp_path / "rest.jsonl") == ""


def test_the_log_goes_on_and_can_be_pruned_again(
    state_dir: Path, tmp_path: Path, clock: Clock
) -> None:
    prune(state_dir, day(5), tmp_path / "one.jsonl", clock)
    log = AuditLog.open(state_dir, clock)
    log.append("session.started", {}, session_id="t")
    log.close()
    done = prune(state_dir, day(15), tmp_path / "two.jsonl", clock)
    assert done.records == 10
    assert accepted(tmp_path / "two.jsonl") == ""
    assert AuditReader(state_dir).verify().ok


def test_the_removal_is_itself_recorded_first(
    state_dir: Path, tmp_path: Path, clock: Clock
) -> None:
    prune(state_dir, day(10), tmp_path / "old.jsonl", clock)
    (record,) = AuditReader(state_dir).find(Query(kind="log.pruned"))
    assert (record.body["through"], record.body["records"]) == (10, 10)


def test_nothing_old_enough_leaves_everything(
    state_dir: Path, tmp_path: Path, clock: Clock
) -> None:
    before = numbers(state_dir)
    assert prune(state_dir, START, tmp_path / "old.jsonl", clock).records == 0
    assert numbers(state_dir) == before
    assert not (tmp_path / "old.jsonl").exists()


def test_the_last_record_and_open_calls_stay(tmp_path: Path, clock: Clock) -> None:
    log = AuditLog.open(tmp_path / "state", clock)
    log.append("session.started", {}, session_id="s")
    log.append("call.proposed", {}, session_id="s", call_id="open")
    for _ in range(5):
        log.append("session.started", {}, session_id="s")
    done = prune(tmp_path / "state", day(99), tmp_path / "old.jsonl", clock)
    assert done.through == 2
    log.append("call.outcome", {}, session_id="s", call_id="open")
    done = prune(tmp_path / "state", day(99), tmp_path / "more.jsonl", clock)
    log.close()
    assert numbers(tmp_path / "state")[0] > 3
    assert AuditReader(tmp_path / "state").verify().ok


def test_an_export_is_never_overwritten(state_dir: Path, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "old.jsonl").write_text("precious")
    with pytest.raises(AuditError, match="exists already"):
        prune(state_dir, day(10), tmp_path / "old.jsonl", clock)
    assert (tmp_path / "old.jsonl").read_text() == "precious"
    assert numbers(state_dir)[0] == 1


def test_a_removal_that_was_cut_short_verifies_and_is_finished_later(
    state_dir: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pruning, "_delete", dies)
        with pytest.raises(KeyboardInterrupt):
            prune(state_dir, day(10), tmp_path / "old.jsonl", clock)
    assert AuditReader(state_dir).verify().ok
    assert numbers(state_dir)[0] == 1
    prune(state_dir, day(10), tmp_path / "again.jsonl", clock)
    assert numbers(state_dir)[0] == 11
    assert AuditReader(state_dir).verify().ok


def forge_root(directory: Path) -> None:
    root = json.loads((directory / "root.json").read_text())
    root["head"]["seq"] += 1
    (directory / "root.json").write_text(json.dumps(root))


def head_as_root(directory: Path) -> None:
    (directory / "root.json").write_bytes((directory / "head.json").read_bytes())


@pytest.mark.guarantee("G7")
@pytest.mark.parametrize(
    "attack",
    [lambda place: (place / "root.json").unlink(), forge_root, head_as_root],
    ids=["root missing", "root moved", "head passed off as root"],
)
def test_an_attack_on_where_the_log_begins_is_found(
    state_dir: Path, tmp_path: Path, clock: Clock, attack: Callable[[Path], None]
) -> None:
    prune(state_dir, day(10), tmp_path / "old.jsonl", clock)
    attack(state_dir / "audit")
    assert not AuditReader(state_dir).verify().ok


@pytest.mark.guarantee("G7")
def test_an_export_whose_beginning_was_cut_off_is_refused(
    state_dir: Path, tmp_path: Path, clock: Clock
) -> None:
    prune(state_dir, day(5), tmp_path / "one.jsonl", clock)
    with (tmp_path / "rest.jsonl").open("wb") as rest:
        AuditReader(state_dir).export(rest)
    first, _, *others = (tmp_path / "rest.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(first + b"".join(others))
    assert "is not the one that follows" in accepted(tmp_path / "cut.jsonl")
