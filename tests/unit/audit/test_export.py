"""An export is verified by somebody who has neither LuminaGuard nor its database."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from luminaguard.audit.log import AuditLog
from luminaguard.audit.reader import AuditReader

VERIFIER = Path(__file__).parents[3] / "examples" / "verify_audit.py"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    log = AuditLog.open(tmp_path / "state")
    log.append("session.started", {"größe": 1.5, "odd": "\ud800\x7f\x1b[31m\u202e"}, session_id="s")
    log.append("call.proposed", {"call": {"tool": "exec"}}, session_id="s", call_id="c")
    log.decide("n", {"decision": {"end": "approved"}}, session_id="s", call_id="c")
    log.close()
    target = tmp_path / "export.jsonl"
    with target.open("wb") as file:
        assert AuditReader(tmp_path / "state").export(file) == 4
    return target


def verdict_on(path: Path, *arguments: str) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, str(VERIFIER), str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=path.parent,
        env={"PYTHONPATH": "", "PATH": ""},
    )
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


def test_an_untouched_export_is_accepted_with_and_without_the_expected_key(exported: Path) -> None:
    key = json.loads(exported.read_bytes().splitlines()[0])["public_key"]
    assert verdict_on(exported)[0] == 0
    assert verdict_on(exported, key)[0] == 0
    code, text = verdict_on(exported, "00" * 32)
    assert code == 1
    assert "another key" in text


def test_an_export_is_plain_ascii_and_safe_to_print(exported: Path) -> None:
    content = exported.read_bytes()
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in content)


@pytest.mark.parametrize("change", ["flip", "delete", "truncate", "swap", "head", "signature"])
def test_a_changed_export_is_refused(exported: Path, change: str) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)
    match change:
        case "flip":
            lines[3] = lines[3].replace(b"exec", b"exed")
        case "delete":
            del lines[2]
        case "truncate":
            del lines[-1]
        case "swap":
            lines[2], lines[3] = lines[3], lines[2]
        case "head":
            lines[0] = lines[0].replace(b'"seq":4', b'"seq":3')
            del lines[-1]
        case _:
            first = json.loads(lines[0])
            first["signature"] = "00" * 64
            lines[0] = json.dumps(first).encode() + b"\n"
    exported.write_bytes(b"".join(lines))
    code, text = verdict_on(exported)
    assert code == 1
    assert "ok" not in text
