"""`luminaguard audit` as scripts and people use it."""

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from luminaguard.audit.log import AuditLog
from luminaguard.cli.audit import audit
from luminaguard.errors import AuditError


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    log = AuditLog.open(tmp_path)
    body = {
        "call": {"tool": "shell", "arguments": {"command": "echo \x1b[31m\u202e" + "x" * 200}},
        "verdict": {"lane": "red", "risk": "high", "rules": ["hidden-characters"]},
    }
    log.append("call.proposed", body, session_id="session-1", call_id="c")
    log.append("call.outcome", {"outcome": "discarded"}, session_id="session-1", call_id="c")
    log.close()
    return tmp_path


def run(state_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(audit, arguments, obj=SimpleNamespace(state_dir=state_dir))


def test_list_shows_the_newest_first_and_hides_no_control_characters(state_dir: Path) -> None:
    result = run(state_dir, "list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["seq", "3", "2", "1"]
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert "<U+202E>" in lines[2] or "u202e" in lines[2]
    assert "(+" in lines[2]


def test_list_filters_and_prints_one_object(state_dir: Path) -> None:
    arguments = ("list", "--risk", "high", "--order", "oldest", "--since", "2020-01-01", "--json")
    found = json.loads(run(state_dir, *arguments).stdout)
    assert [record["seq"] for record in found["records"]] == [2]
    assert found["records"][0]["body"]["verdict"]["rules"] == ["hidden-characters"]


def test_show_prints_a_record_whole_and_harmless(state_dir: Path) -> None:
    result = run(state_dir, "show", "2")
    assert "x" * 200 in result.stdout
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert json.loads(run(state_dir, "show", "2", "--json").stdout)["call_id"] == "c"


def test_a_record_that_does_not_exist_is_an_error(state_dir: Path) -> None:
    assert isinstance(run(state_dir, "show", "99").exception, AuditError)


def test_a_wrong_time_is_refused(state_dir: Path) -> None:
    result = run(state_dir, "list", "--since", "yesterday")
    assert result.exit_code == 2
    assert "is not a time" in result.output


def test_verify_succeeds_on_what_was_written(state_dir: Path) -> None:
    result = run(state_dir, "verify")
    assert (result.exit_code, result.stdout.startswith("ok: 3 records")) == (0, True)
    assert json.loads(run(state_dir, "verify", "--json").stdout)["ok"] is True


def test_verify_exits_1_and_names_the_first_bad_record(state_dir: Path) -> None:
    database = sqlite3.connect(state_dir / "audit" / "log.db", isolation_level=None)
    database.execute("DROP TRIGGER record_is_fixed")
    database.execute("UPDATE record SET session_id = 'other' WHERE seq = 2")
    database.close()
    result = run(state_dir, "verify")
    assert result.exit_code == 1
    assert "first bad record: 2" in result.stdout
    found = json.loads(run(state_dir, "verify", "--json").stdout)
    assert (found["ok"], found["first_bad_seq"], found["count"]) == (False, 2, 1)


def test_export_goes_to_a_file_or_to_standard_output(state_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "log.jsonl"
    assert run(state_dir, "export", str(target)).exit_code == 0
    lines = target.read_bytes().splitlines()
    assert [json.loads(line).get("seq") for line in lines] == [None, 1, 2, 3]
    assert run(state_dir, "export").stdout.encode() == target.read_bytes()


def test_everything_says_when_there_is_no_log(tmp_path: Path) -> None:
    for arguments in (("list",), ("show", "1"), ("verify",), ("export",)):
        assert isinstance(run(tmp_path, *arguments).exception, AuditError)
