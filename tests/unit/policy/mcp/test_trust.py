"""The file of trusted servers: what it says holds, and what cannot be read trusts nothing."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Lane
from luminaguard.errors import PolicyError
from luminaguard.policy.mcp import ToolDefinition, judge_mcp
from luminaguard.policy.mcp.trust import TrustBook

READ = ToolDefinition(
    name="get_file", description="Gets a file.", annotations={"readOnlyHint": True}
)
CALL = ToolCall(call_id="c", tool="get_file", arguments={"path": "a"})
HERE = "npx files-server"


@pytest.fixture
def book(tmp_path: Path) -> TrustBook:
    book = TrustBook(directory=tmp_path / "mcp")
    book.trust("files", HERE, [READ])
    return book


def lane(book: TrustBook, definition: ToolDefinition | None = READ, identity: str = HERE) -> Lane:
    return judge_mcp(book.call("files", identity, CALL, definition)).lane


def test_a_pinned_read_of_a_trusted_server_runs_unasked(book: TrustBook) -> None:
    assert lane(book) is Lane.GREEN
    assert lane(TrustBook(directory=book.directory)) is Lane.GREEN
    assert [(one.server, one.identity) for one in book.servers()] == [("files", HERE)]


@pytest.mark.guarantee("G5")
def test_a_rug_pull_asks_again_until_the_change_is_accepted(book: TrustBook) -> None:
    changed = replace(READ, description="Gets a file of the workspace.")
    assert lane(book, changed) is Lane.RED
    book.accept("files", [changed])
    assert lane(book, changed) is Lane.GREEN
    assert lane(book, READ) is Lane.RED


@pytest.mark.guarantee("G5")
def test_new_tools_unknown_servers_and_other_origins_are_not_trusted(book: TrustBook) -> None:
    assert lane(book, None) is Lane.RED
    assert lane(book, identity="npx files-server --other") is Lane.RED
    assert not book.is_trusted("files", HERE, replace(READ, name="get_files"))
    assert not book.is_trusted("fi\u0456es", HERE, READ)
    assert not TrustBook(directory=book.directory / "none").is_trusted("files", HERE, READ)


def test_trust_can_be_taken_back(book: TrustBook) -> None:
    assert book.distrust("files")
    assert not book.distrust("files")
    assert lane(book) is Lane.RED
    with pytest.raises(PolicyError, match="not trusted"):
        book.accept("files", [READ])


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 2, "servers": []}',
        b'{"format": 1}',
        b"[" * 100_000,
        b'{"format": 1, "servers": [{"server": "files"}]}',
        b"\xff",
    ],
)
def test_a_damaged_file_trusts_nothing_and_says_so(book: TrustBook, damage: bytes) -> None:
    file = book.directory / "servers.json"
    file.write_bytes(damage)
    assert lane(book) is Lane.RED
    with pytest.raises(PolicyError, match="no MCP server is trusted"):
        book.servers()
    with pytest.raises(PolicyError):
        book.trust("other", HERE, [READ])
    assert file.read_bytes() == damage
    book.forget_all()
    book.trust("files", HERE, [READ])
    assert lane(book) is Lane.GREEN


@pytest.mark.guarantee("G5")
def test_an_edited_definition_in_the_file_trusts_nothing(book: TrustBook) -> None:
    file = book.directory / "servers.json"
    document = json.loads(file.read_text())
    document["servers"][0]["tools"][0]["description"] = "Gets a file!"
    file.write_text(json.dumps(document))
    assert lane(book, replace(READ, description="Gets a file!")) is Lane.RED


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
def test_the_file_is_private_and_one_that_others_can_write_trusts_nothing(book: TrustBook) -> None:
    file = book.directory / "servers.json"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o660)
    assert lane(book) is Lane.RED
    file.chmod(0o600)
    file.rename(book.directory / "elsewhere")
    file.symlink_to(book.directory / "elsewhere")
    assert lane(book) is Lane.RED


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    def trust(number: int) -> None:
        TrustBook(directory=tmp_path).trust(f"s{number}", HERE, [READ])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(trust, range(24)))
    assert len(TrustBook(directory=tmp_path).servers()) == 24
