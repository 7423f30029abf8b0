"""`luminaguard grants`: what was approved for later can be seen and taken back."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from luminaguard.approval.approvers import utc_now
from luminaguard.cli.grants import grants
from luminaguard.config import Settings
from luminaguard.domain.grant import GrantScope
from luminaguard.errors import PolicyError
from luminaguard.policy.grants.book import GrantBook
from luminaguard.policy.grants.grant import Grant, Terms


def settings(root: Path) -> Settings:
    return Settings(state_dir=root / "state", cache_dir=root / "c", config_file=root / "x.toml")


def keep(root: Path, name: str) -> None:
    now = utc_now()
    book = GrantBook(directory=settings(root).grants_dir, now=utc_now)
    book.add(
        Grant(
            grant_id=name,
            scope=GrantScope.PATTERN,
            workspace="1:2 /home/ann/shop",
            session_id="session-1",
            terms=Terms(tool="shell", files={"run.sh": "a" * 64}),
            covers="'frob \x1b[31m' in src/**, " + "for 8 h, at most 20 times, " * 4,
            given_by="tty (controlling terminal)",
            request="r" * 64,
            policy_version="v",
            created_at=now,
            expires_at=now + timedelta(hours=8),
            max_uses=20,
        )
    )


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(grants, arguments, obj=settings(root))


def test_without_grants_it_says_that_everything_is_asked(tmp_path: Path) -> None:
    assert "no grants" in run(tmp_path, "list").stdout
    assert json.loads(run(tmp_path, "list", "--json").stdout) == {"grants": [], "problem": None}
    assert run(tmp_path, "revoke", "--all").exit_code == 0


def test_a_grant_is_listed_shown_and_revoked(tmp_path: Path) -> None:
    keep(tmp_path, "grant-1")
    keep(tmp_path, "grant-2")
    listed = run(tmp_path, "list").stdout
    assert "grant-1" in listed
    assert "20 of 20 uses" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert "/home/ann/shop" in listed
    assert "\x1b" not in listed
    shown = run(tmp_path, "show", "grant-1").stdout
    for text in ("run.sh aaaaaaaaaaaa", "tty (controlling terminal)", "pattern", "given at"):
        assert text in shown
    assert json.loads(run(tmp_path, "show", "grant-1", "--json").stdout)["max_uses"] == 20
    revoked = json.loads(run(tmp_path, "revoke", "grant-1", "--json").stdout)
    assert revoked == {"revoked": ["grant-1"]}
    (left,) = json.loads(run(tmp_path, "list", "--json").stdout)["grants"]
    assert left["grant_id"] == "grant-2"
    assert "grant-2" in run(tmp_path, "revoke", "--all").stdout
    assert "no grants" in run(tmp_path, "list").stdout


def test_an_unknown_grant_is_an_error_and_nothing_is_revoked(tmp_path: Path) -> None:
    keep(tmp_path, "grant-1")
    for arguments in (["show", "grant-9"], ["revoke", "grant-1", "grant-9"]):
        result = run(tmp_path, *arguments)
        assert isinstance(result.exception, PolicyError)
        assert "grant-9" in str(result.exception)
    assert "grant-1" in run(tmp_path, "list").stdout


@pytest.mark.parametrize("arguments", [["revoke"], ["revoke", "--all", "grant-1"]])
def test_revoking_wants_names_or_all(tmp_path: Path, arguments: list[str]) -> None:
    assert run(tmp_path, *arguments).exit_code == 2


def test_a_damaged_file_is_told_and_can_be_begun_anew(tmp_path: Path) -> None:
    keep(tmp_path, "grant-1")
    (settings(tmp_path).grants_dir / "grants.json").write_text("{}")
    listed = run(tmp_path, "list")
    assert "no grant is used" in listed.stderr
    assert json.loads(run(tmp_path, "list", "--json").stdout)["problem"]
    assert run(tmp_path, "revoke", "--all").exit_code == 0
    assert json.loads(run(tmp_path, "list", "--json").stdout)["problem"] is None
