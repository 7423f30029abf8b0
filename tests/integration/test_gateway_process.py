"""The gateway as clients start it: a process of its own, over standard input or HTTP."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from commandline import CommandLine

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and sockets"),
]
SERVER = Path(__file__).parents[1] / "mcp_servers.py"
WAIT_S = 60.0


class Place:
    """One user with one server behind the gateway."""

    def __init__(self, directory: Path) -> None:
        self.line = CommandLine(
            home=directory / "home", workspace=directory / "w", cache=directory / "cache"
        )
        config = self.line.home / "config"
        config.mkdir(parents=True)
        (config / "config.toml").write_text("[approval]\nallow_unattended = true\n")
        self.called = directory / "called"
        entry = {
            "command": sys.executable,
            "args": [str(SERVER), str(self.called)],
            "where": "host",
        }
        self.file = config / "mcp.json"
        self.file.write_text(json.dumps({"mcpServers": {"notes": entry}}))

    def command(self, *options: str) -> StdioServerParameters:
        return StdioServerParameters(
            command=sys.executable,
            args=["-m", "luminaguard", "mcp", "gateway", *options],
            env=self.line.environment(),
        )

    def calls(self) -> list[str]:
        return self.called.read_text().split() if self.called.exists() else []

    async def decide(self, how: str) -> None:
        """Answer the one open question from another process."""
        with anyio.fail_after(WAIT_S):
            while True:
                listed = await anyio.to_thread.run_sync(
                    lambda: self.line.run("approvals", "list", "--json").stdout
                )
                requests = json.loads(listed)["requests"]
                if requests:
                    break
        done = await anyio.to_thread.run_sync(
            lambda: self.line.run("approvals", how, requests[0]["id"])
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(("how", "calls"), [("approve", ["send_mail"]), ("reject", [])])
async def test_a_held_call_is_decided_in_another_process(
    place: Place, how: str, calls: list[str]
) -> None:
    errors: list[bool] = []
    async with (
        Client(place.command("--approver", "queue")) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(place.decide, how)
        with anyio.fail_after(WAIT_S):
            result = await client.call_tool("notes__send_mail", {"text": "hi"})
        errors.append(bool(result.is_error))
    assert place.calls() == calls
    assert errors == [how == "reject"]


async def test_without_an_approver_nothing_is_sent(place: Place) -> None:
    async with Client(place.command()) as client:
        with anyio.fail_after(WAIT_S):
            result = await client.call_tool("notes__send_mail", {"text": "hi"})
    assert (place.calls(), result.is_error) == ([], True)


async def test_an_unanswered_call_expires(place: Place) -> None:
    options = ("--approver", "queue", "--approval-timeout", "0.5")
    async with Client(place.command(*options)) as client:
        with anyio.fail_after(WAIT_S):
            result = await client.call_tool("notes__send_mail", {"text": "hi"})
    assert place.calls() == []
    assert "not approved (expired)" in result.content[0].text  # pyright: ignore[reportAttributeAccessIssue]


def test_sigterm_ends_it_while_its_client_still_listens(place: Place) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "luminaguard", "mcp", "gateway", "--http", "--port", "0"],
        env=place.line.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stderr is not None
            while b"listens on" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_sigterm_ends_it_while_it_waits_for_input(place: Place) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "luminaguard", "mcp", "gateway"],
        env=place.line.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            request = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "initialize",
                "params": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": "test", "version": "1"},
                },
            }
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            assert b'"luminaguard"' in process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture
def listening(place: Place) -> Iterator[tuple[str, str]]:
    """A gateway over HTTP: its address and its token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "luminaguard", "mcp", "gateway", "--http", "--port", "0"],
        env=place.line.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stderr is not None
            said = b""
            until = time.monotonic() + WAIT_S
            while b"listens on" not in said and time.monotonic() < until:
                said += process.stderr.readline()
            url = re.search(rb"http://\S+", said)
            assert url is not None, said
            kept = place.line.home / "state" / "mcp" / "gateway-token"
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
            assert said.count(kept.read_bytes()) == 1
            yield url[0].decode(), kept.read_text()
        finally:
            process.terminate()
            process.wait(20)


async def test_http_serves_who_shows_the_token(listening: tuple[str, str]) -> None:
    url, token = listening
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        tools = (await client.list_tools()).tools
    assert {one.name for one in tools} == {"notes__get_note", "notes__send_mail"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "TOKEN", "Host": "evil.example.org"}, 421),
        ({"Authorization": "TOKEN", "Origin": "https://evil.example.org"}, 403),
    ],
)
async def test_http_refuses_others(
    listening: tuple[str, str], headers: dict[str, str], status: int
) -> None:
    url, token = listening
    shown = {name: value.replace("TOKEN", f"Bearer {token}") for name, value in headers.items()}
    shown |= {"Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, json=body, headers=shown)
    assert answer.status_code == status


def test_tools_are_listed_with_what_they_would_be_judged_as(place: Place) -> None:
    done = place.line.run("mcp", "tools", "--json")
    found = {tool["name"]: tool for tool in json.loads(done.stdout)["tools"]}
    assert found["notes__send_mail"]["lane"] == "red"
    assert place.calls() == []


@pytest.mark.parametrize("client", ["claude-code", "codex", "cursor", "vscode", "gemini"])
def test_install_prints_the_entry_and_how_to_switch_the_own_shell_off(
    place: Place, client: str
) -> None:
    done = place.line.run("mcp", "install", client)
    assert done.returncode == 0, done.stderr
    assert "gateway" in done.stdout
    assert "witch" in done.stdout
    assert os.fspath(place.file) in done.stdout
