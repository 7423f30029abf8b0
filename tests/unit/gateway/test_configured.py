"""Reading the servers behind the gateway."""

import json
from pathlib import Path
from typing import Any

import pytest

from luminaguard.errors import ConfigError
from luminaguard.gateway.configured import ServerFile, read_servers


def read(directory: Path, entries: Any, **environ: str) -> ServerFile:
    file = directory / "mcp.json"
    file.write_text(json.dumps({"mcpServers": entries}))
    return read_servers(file, environ)


def test_a_command_runs_on_the_host_only_where_that_is_said(tmp_path: Path) -> None:
    found = read(tmp_path, {"a": {"command": "x"}, "b": {"command": "x", "where": "host"}})
    assert [one.name for one in found.servers] == ["b"]
    assert "micro-VM" in str(found.unusable["a"])


def test_secrets_come_from_the_environment_and_stay_out_of_identity(tmp_path: Path) -> None:
    entry = {"url": "https://x.test/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}}
    (server,) = read(tmp_path, {"a": entry}, TOKEN="s3cret").servers
    assert server.headers == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in server.identity
    assert "s3cret" not in repr(server)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"url": "ftp://x"},
        {"url": "https://x", "command": "x"},
        {"command": "x", "where": "host", "args": "x"},
        {"url": "https://x", "headers": {"A": "${MISSING}"}},
        7,
    ],
)
def test_a_bad_entry_is_left_out_with_a_reason(tmp_path: Path, entry: Any) -> None:
    found = read(tmp_path, {"a": entry, "good": {"url": "https://x.test"}})
    assert [one.name for one in found.servers] == ["good"]
    assert str(found.unusable["a"])


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_servers(tmp_path / "absent.json", {})
