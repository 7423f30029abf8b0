"""Configurations of other clients are read as they are."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luminaguard.errors import ConfigError
from luminaguard.mcp.reading import ServerList, read_file, read_servers
from luminaguard.mcp.servers import Endpoint, HttpServer, StdioServer, Strategy, Where

ENVIRON = {"TOKEN": "t0p-s3cret", "EMPTY": ""}


def read(entries: dict[str, Any], table: str = "mcpServers", **places: str) -> ServerList:
    return read_servers(json.dumps({table: entries}), environ=ENVIRON, places=places)


def stdio(entry: dict[str, Any]) -> StdioServer:
    server = read({"one": entry}).server("one")
    assert isinstance(server, StdioServer)
    return server


def http(entry: dict[str, Any]) -> HttpServer:
    server = read({"one": entry}).server("one")
    assert isinstance(server, HttpServer)
    return server


def test_claude_s_way_to_write_a_program() -> None:
    server = stdio({"type": "stdio", "command": "npx", "args": ["-y", "x"], "env": {"A": "b"}})
    assert (server.command, server.args) == ("npx", ("-y", "x"))
    assert server.env["A"].reveal() == "b"


def test_a_program_runs_in_a_machine_unless_it_says_host() -> None:
    assert stdio({"command": "x"}).where is Where.MACHINE
    assert stdio({"command": "x", "where": "host"}).where is Where.HOST


@pytest.mark.parametrize(
    "entry",
    [
        {"url": "https://a.example/mcp"},
        {"type": "http", "url": "https://a.example/mcp"},
        {"type": "streamable-http", "url": "https://a.example/mcp"},
        {"transport": "http", "url": "https://a.example/mcp"},
        {"httpUrl": "https://a.example/mcp"},
        {"endpoints": ["https://a.example/mcp"]},
        {"endpoints": [{"url": "https://a.example/mcp"}]},
    ],
)
def test_addresses_are_found_wherever_clients_write_them(entry: dict[str, Any]) -> None:
    assert http(entry).endpoints == (Endpoint(url="https://a.example/mcp"),)


def test_vs_code_s_table_and_its_settings_are_read() -> None:
    entry = {"one": {"type": "http", "url": "https://a.example/mcp"}}
    assert len(read(entry, "servers").servers) == 1
    settings = json.dumps({"editor": 1, "mcp": {"servers": entry}})
    assert len(read_servers(settings, environ={}).servers) == 1


def test_codex_s_toml_is_read() -> None:
    text = (
        '[mcp_servers.files]\ncommand = "npx"\nargs = ["-y"]\nstartup_timeout_sec = 7\n'
        '[mcp_servers.mail]\nurl = "https://m.example/"\nbearer_token_env_var = "TOKEN"\n'
        'env_http_headers = { "X-Key" = "TOKEN" }\ntool_timeout_sec = 9\n'
    )
    found = read_servers(text, toml=True, environ=ENVIRON)
    files, mail = found.server("files"), found.server("mail")
    assert isinstance(mail, HttpServer)
    assert files.limits.connect_s == 7
    assert mail.limits.call_s == 9
    assert mail.headers["Authorization"].reveal() == "Bearer t0p-s3cret"
    assert mail.headers["X-Key"].reveal() == "t0p-s3cret"
    assert found.ignored == {}


def test_own_keys_are_read() -> None:
    server = http(
        {
            "endpoints": [{"url": "http://a.example/", "weight": 3}, "http://b.example/"],
            "strategy": "weighted",
            "timeout_s": 5,
            "attempts": 2,
            "connections": 7,
        }
    )
    assert [one.weight for one in server.endpoints] == [3, 1]
    assert server.strategy is Strategy.WEIGHTED
    assert (server.limits.call_s, server.attempts, server.connections) == (5, 2, 7)


@pytest.mark.parametrize("text", ["${TOKEN}", "${env:TOKEN}", "${TOKEN:-other}"])
def test_variables_are_filled_in_where_secrets_belong(text: str) -> None:
    assert stdio({"command": "x", "env": {"K": text}}).env["K"].reveal() == "t0p-s3cret"
    headers = http({"url": "https://a.example/", "headers": {"K": f"Bearer {text}"}}).headers
    assert headers["K"].reveal() == "Bearer t0p-s3cret"


def test_a_default_stands_in_for_a_variable_that_is_not_set() -> None:
    assert stdio({"command": "x", "env": {"K": "${NONE:-other}"}}).env["K"].reveal() == "other"


@pytest.mark.parametrize("key", ["command", "cwd"])
def test_secrets_do_not_get_onto_command_lines(key: str) -> None:
    found = read({"one": {"command": "x", key: "${TOKEN}"}})
    assert "only in env and headers" in str(found.unusable["one"])
    assert "args" in str(read({"a": {"command": "x", "args": ["${TOKEN}"]}}).unusable["a"])


def test_places_are_filled_in_everywhere() -> None:
    found = read({"a": {"command": "x", "args": ["${workspaceFolder}"]}}, workspaceFolder="/w")
    server = found.server("a")
    assert isinstance(server, StdioServer)
    assert server.args == ("/w",)


def test_secrets_do_not_show_themselves() -> None:
    server = http({"url": "https://a.example/", "headers": {"K": "${TOKEN}"}})
    assert "s3cret" not in repr(server)
    assert "s3cret" not in repr(stdio({"command": "x", "env": {"K": "${TOKEN}"}}))


BAD: list[dict[str, Any]] = [
    {},
    {"command": ""},
    {"command": 7},
    {"command": "x", "args": "not a list"},
    {"command": "x", "args": [1]},
    {"command": "x\0y"},
    {"command": "x", "env": {"A": "${NONE}"}},
    {"command": "x", "env": {"A": "${EMPTY}"}},
    {"command": "x", "env": {"A": "${input:key}"}},
    {"command": "x", "env": ["A=b"]},
    {"command": "x", "where": "cloud"},
    {"command": "x", "url": "https://a.example/"},
    {"type": "sse", "url": "https://a.example/"},
    {"type": "smoke", "url": "https://a.example/"},
    {"type": "http"},
    {"url": "ftp://a.example/"},
    {"url": "https://"},
    {"url": "https://user:pw@a.example/"},
    {"url": "https://a.example:99999/"},
    {"url": "https://a.example/ x"},
    {"url": "https://a.example/", "headers": {"A": "x\r\nB: y"}},
    {"url": "https://a.example/", "timeout_s": "soon"},
    {"url": "https://a.example/", "timeout_s": -1},
    {"url": "https://a.example/", "attempts": True},
    {"url": "https://a.example/", "strategy": "lucky"},
    {"endpoints": []},
    {"endpoints": ["https://a.example/", "https://a.example/"]},
    {"endpoints": [{"url": "https://a.example/", "wieght": 2}]},
    {"endpoints": ["https://a.example/"], "url": "https://b.example/"},
]


@pytest.mark.parametrize("entry", BAD, ids=repr)
def test_a_bad_entry_is_said_and_hides_no_other(entry: dict[str, Any]) -> None:
    found = read({"bad": entry, "good": {"command": "x"}})
    assert [server.name for server in found.servers] == ["good"]
    with pytest.raises(ConfigError):
        found.server("bad")


def test_keys_of_other_clients_are_ignored_but_listed() -> None:
    found = read({"one": {"command": "x", "autoApprove": ["*"], "icon": "y"}})
    assert found.ignored == {"one": ("autoApprove", "icon")}


@pytest.mark.parametrize("key", [{"disabled": True}, {"enabled": False}])
def test_a_disabled_server_is_not_used(key: dict[str, bool]) -> None:
    found = read({"off": {"command": "x", **key}})
    assert (found.servers, found.disabled) == ((), ("off",))
    with pytest.raises(ConfigError, match="disabled"):
        found.server("off")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"mcpServers": []}', "[" * 100_000, '{"a":1,"a":2}']
)
def test_a_file_without_servers_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        read_servers(text, environ={})


def test_a_server_written_twice_is_an_error() -> None:
    with pytest.raises(ConfigError, match="twice"):
        read_servers('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', environ={})


def test_files_are_read_by_their_kind(tmp_path: Any) -> None:
    toml, plain = tmp_path / "config.toml", tmp_path / ".mcp.json"
    toml.write_text('[mcp_servers.a]\ncommand = "x"\n')
    plain.write_text('{"mcpServers": {"b": {"command": "x"}}}')
    assert read_file(toml).server("a").name == "a"
    assert read_file(plain).server("b").name == "b"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path / "none.json")


def test_an_address_that_can_be_overheard_is_known() -> None:
    overheard = [
        Endpoint(url=f"{url}/mcp").is_overheard
        for url in (
            "http://a.example",
            "https://a.example",
            "http://127.0.0.1:1",
            "http://localhost:1",
            "http://[::1]:1",
        )
    ]
    assert overheard == [True, False, False, False, False]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["command", "args", "env", "cwd", "url", "headers", "type", "endpoints", "oauth", "timeout_s"]
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.dictionaries(KEYS, JSON, max_size=4), max_size=3))
def test_no_configuration_is_worse_than_an_unusable_entry(entries: dict[str, Any]) -> None:
    found = read(entries)
    names = {server.name for server in found.servers} | set(found.unusable) | set(found.disabled)
    assert names == set(entries)
