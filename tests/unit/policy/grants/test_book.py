"""The file of grants: kept, counted, revoked; and worth nothing once it is not what was written."""

import json
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from luminaguard.domain.grant import GrantScope
from luminaguard.errors import PolicyError
from luminaguard.policy.grants.book import GrantBook
from luminaguard.policy.grants.grant import Grant, Terms

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def grant(name: str = "grant-1", **more: object) -> Grant:
    made = Grant(
        grant_id=name,
        scope=GrantScope.PATTERN,
        workspace="1:2 /w",
        session_id="s",
        terms=Terms(tool="shell"),
        covers="calls",
        given_by="tty",
        request="r",
        policy_version="v",
        created_at=NOW,
        expires_at=NOW + timedelta(hours=8),
        max_uses=3,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def book(root: Path, now: datetime = NOW, said: list[str] | None = None) -> GrantBook:
    return GrantBook(directory=root / "grants", now=lambda: now, warn=(said or []).append)


def test_what_is_kept_is_found_by_every_process(tmp_path: Path) -> None:
    assert book(tmp_path).all() == ()
    book(tmp_path).add(grant())
    assert book(tmp_path).all() == (grant(),)
    assert book(tmp_path).get("grant-1") == grant()
    assert book(tmp_path).get("grant-2") is None


def test_a_grant_is_spent_use_by_use_and_then_gone(tmp_path: Path) -> None:
    book(tmp_path).add(grant())
    assert [book(tmp_path).spend("grant-1").uses for _ in range(3)] == [1, 2, 3]
    with pytest.raises(PolicyError, match="used up"):
        book(tmp_path).spend("grant-1")
    assert book(tmp_path).all() == ()


def test_an_expired_grant_is_gone(tmp_path: Path) -> None:
    book(tmp_path).add(grant())
    later = book(tmp_path, NOW + timedelta(hours=8))
    assert later.all() == ()
    with pytest.raises(PolicyError, match="expired"):
        later.spend("grant-1")


def test_a_revoked_grant_cannot_be_spent_any_more(tmp_path: Path) -> None:
    running = book(tmp_path)
    running.add(grant())
    running.add(grant("grant-2"))
    assert book(tmp_path).revoke(["grant-1", "grant-9"]) == ("grant-1",)
    with pytest.raises(PolicyError, match="revoked"):
        running.spend("grant-1")
    assert [held.grant_id for held in running.all()] == ["grant-2"]
    book(tmp_path).revoke_all()
    assert running.all() == ()
    with pytest.raises(PolicyError, match="revoked"):
        running.spend("grant-2")


def test_a_session_s_grants_end_with_it(tmp_path: Path) -> None:
    held = book(tmp_path)
    held.add(grant("a", scope=GrantScope.SESSION))
    held.add(grant("b", scope=GrantScope.SESSION, session_id="t"))
    held.add(grant("c"))
    held.end_session("s")
    assert [kept.grant_id for kept in held.all()] == ["b", "c"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permission bits")
def test_the_files_are_the_user_s_alone(tmp_path: Path) -> None:
    book(tmp_path).add(grant())
    directory = tmp_path / "grants"
    assert directory.stat().st_mode & 0o777 == 0o700
    for file in directory.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file


def _more_uses(path: Path) -> None:
    path.write_text(path.read_text().replace('"max_uses": 3', '"max_uses": 9'))


def _unsealed(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "seal": "0" * 64}))


def _other_key(path: Path) -> None:
    (path.parent / "key").write_bytes(b"x" * 32)


def _without_key(path: Path) -> None:
    (path.parent / "key").unlink()


def _through_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


TAMPERING: list[Callable[[Path], object]] = [
    _more_uses, _unsealed, _other_key, _without_key, _through_link,
    lambda path: path.write_text(""), lambda path: path.write_text("[" * 100_000),
    lambda path: path.write_text('{"format": 1}'), lambda path: path.write_bytes(b"\xff\x00"),
    lambda path: path.write_text(path.read_text()[:-20]), lambda path: path.chmod(0o644),
    lambda path: path.chmod(0o620),
]  # fmt: skip


@pytest.mark.guarantee("G4")
@pytest.mark.skipif(sys.platform == "win32", reason="needs links and permission bits")
@pytest.mark.parametrize("tamper", TAMPERING)
def test_a_file_that_is_not_what_was_written_holds_no_grants(
    tmp_path: Path, tamper: Callable[[Path], object]
) -> None:
    book(tmp_path).add(grant())
    tamper(tmp_path / "grants" / "grants.json")
    said: list[str] = []
    held = GrantBook(directory=tmp_path / "grants", now=lambda: NOW, warn=said.append)
    assert held.all() == ()
    assert held.all() == ()
    assert len(said) == 1
    assert "revoke --all" in said[0]
    assert held.problem
    with pytest.raises(PolicyError):
        held.spend("grant-1")
    with pytest.raises(PolicyError):
        held.add(grant("grant-2"))
    held.revoke_all()
    held.add(grant("grant-2"))
    assert [kept.grant_id for kept in held.all()] == ["grant-2"]


def test_a_crash_while_writing_loses_nothing(tmp_path: Path) -> None:
    book(tmp_path).add(grant())
    (tmp_path / "grants" / ".grants.1.incoming").write_text("half")
    assert len(book(tmp_path).all()) == 1


def _spend(directory: Path, times: int) -> None:
    held = GrantBook(directory=directory, now=lambda: NOW)
    for _ in range(times):
        held.spend("grant-1")


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_uses_by_several_processes_are_all_counted(tmp_path: Path) -> None:
    book(tmp_path).add(grant(max_uses=100))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spend, args=(tmp_path / "grants", 10)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    (held,) = book(tmp_path).all()
    assert held.uses == 30
