"""`luminaguard policy`: the rules in force, and the recorded past under other rules."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from luminaguard.audit.log import AuditLog
from luminaguard.cli.policy import policy
from luminaguard.config import Settings
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.errors import ConfigError, PolicyError


@dataclass
class Past:
    """A log with calls that were made."""

    root: Path
    log: AuditLog = field(init=False)
    made: int = 0

    def __post_init__(self) -> None:
        self.log = AuditLog.open(self.root / "state")
        self.log.append("session.started", {"workspace": "1:2 /w"}, session_id="s")

    def call(
        self,
        command: str,
        *changed: str,
        lane: str = "red",
        asked: bool = False,
        outcome: str = "executed",
        approver: str = "",
        kind: str = "modify",
    ) -> None:
        """Record a call with its effect; `asked` tells that a card was shown."""
        self.made += 1
        name = f"c{self.made}"
        call = ToolCall(call_id=name, tool="shell", arguments={"command": command})
        given: dict[str, JsonValue] = {
            "tool": "shell", "arguments": dict(call.arguments), "digest": call.digest,
        }  # fmt: skip
        self._add("call.proposed", name, {"call": given, "verdict": {"lane": lane, "rules": ["x"]}})
        if lane != "forbidden":
            changes: list[JsonValue] = [{"path": path, "kind": kind} for path in changed]
            body: dict[str, JsonValue] = {"changeset": {"base": "0", "changes": changes}}
            self._add("call.rehearsed", name, {**body, "leftover": []})
        if asked:
            self._add("approval.requested", name, {})
        if approver:
            self._add("approval.decided", name, {"decision": {"approver": approver}})
        self._add("call.outcome", name, {"outcome": outcome})

    def _add(self, kind: str, call_id: str, body: Mapping[str, JsonValue]) -> None:
        self.log.append(kind, body, session_id="s", call_id=call_id)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


def run(root: Path, *arguments: str) -> Result:
    settings = Settings(
        state_dir=root / "state", cache_dir=root / "c", config_file=root / "config" / "config.toml"
    )
    return CliRunner().invoke(policy, arguments, obj=settings)


def rules(root: Path, text: str, name: str = "new.toml") -> str:
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def tried(root: Path, text: str) -> dict[str, Any]:
    result = run(root, "test", rules(root, text), "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def test_the_past_under_the_same_rules_is_the_same(past: Past) -> None:
    past.call("ls", lane="green")
    past.call("frob")
    past.call("frob", "src/a", asked=True, outcome="committed", approver="tty")
    past.call("write", lane="forbidden", outcome="denied")
    found = tried(past.root, "")
    assert (found["calls"], found["undecidable"]) == (4, 0)
    assert [(row["was"], row["now"]) for row in found["rows"]] == [("denied", "asked")]


def test_what_would_have_been_decided_differently_is_listed_with_the_rule(past: Past) -> None:
    past.call("frob", "src/a", asked=True, outcome="committed", approver="tty")
    past.call("frob", "other/a", asked=True, outcome="committed", approver="tty")
    past.call("ls", lane="green")
    past.call("make clean", "keep/a", asked=True, outcome="discarded", kind="delete")
    found = tried(
        past.root,
        """
[[allow]]
name = "frob"
command = "frob *"
path = "src/**"
[[ask]]
name = "look"
command = "ls"
[[deny]]
name = "keep"
path = "keep/**"
""",
    )
    assert (found["calls"], found["same"], found["different"]) == (4, 1, 3)
    assert [(row["call"], row["was"], row["now"], row["rules"]) for row in found["rows"]] == [
        ("frob", "asked", "unasked", ["user:frob"]),
        ("ls", "unasked", "asked", ["user:look"]),
        ("make clean", "asked", "denied", ["user:keep"]),
    ]
    text = run(past.root, "test", str(past.root / "new.toml")).stdout
    assert "asked → unasked  shell: frob" in text
    assert "3 of 4 calls decided differently" in text


def test_calls_whose_record_is_redacted_are_undecidable_and_not_guessed(past: Past) -> None:
    past.call("frob --password hunter2", "src/a", asked=True, outcome="committed")
    found = tried(past.root, '[[deny]]\nname = "d"\ncommand = "frob"\n')
    assert (found["different"], found["undecidable"]) == (0, 1)
    assert found["rows"][0]["now"] == "undecidable"
    assert "hunter2" not in json.dumps(found)
    assert "1 cannot be decided" in run(past.root, "test", str(past.root / "new.toml")).stdout


def test_what_a_grant_let_pass_is_not_counted_as_asked_again(past: Past) -> None:
    past.call("frob", "src/a", outcome="committed", approver="grant")
    assert tried(past.root, "")["different"] == 0
    denied = tried(past.root, '[[deny]]\nname = "d"\ncommand = "frob"\n')
    assert denied["rows"][0]["now"] == "denied"


def test_a_file_that_is_no_rules_file_is_an_error(past: Past) -> None:
    result = run(past.root, "test", rules(past.root, "[[deny]]\n"))
    assert isinstance(result.exception, PolicyError)


def test_rules_in_force_are_shown_with_what_is_not(tmp_path: Path) -> None:
    rules(tmp_path, '[[deny]]\nname="no"\ncommand="git push *"\nreason="r"\n', "config/policy.toml")
    project = tmp_path / "shop"
    project.mkdir()
    (project / "luminaguard-policy.toml").write_text(
        '[[allow]]\nname="all"\ntool="*"\n[[ask]]\nname="look"\npath="docs/**"\n'
    )
    result = run(tmp_path, "show", "-w", str(project))
    assert result.exit_code == 0, result.exception
    told = " ".join(result.stdout.split())
    assert "deny no command: git push * reason: r" in told
    assert "ask look path: docs/**" in told
    assert "'all' would allow" in result.stderr
    shown = json.loads(run(tmp_path, "show", "-w", str(project), "--json").stdout)
    assert [file["not_in_force"] for file in shown["files"]] == [[], ["all"]]
    assert [rule["name"] for file in shown["files"] for rule in file["rules"]] == [
        "user:no", "project:look",
    ]  # fmt: skip


def test_a_user_s_file_within_the_project_is_refused(tmp_path: Path) -> None:
    rules(tmp_path, "", "config/policy.toml")
    assert isinstance(run(tmp_path, "show", "-w", str(tmp_path)).exception, ConfigError)


def test_every_part_of_a_rule_is_shown_within_80_columns(tmp_path: Path) -> None:
    reason = "people push, " * 20
    text = f"""
[[deny]]
name = "no-push"
reason = "{reason}"
command = ["git push", "npm publish *"]
[[ask]]
name = "mail"
server = "mail"
tool = "send_*"
host = "*.example.org"
arguments = {{ to = "*@example.org" }}
[[allow]]
name = "format"
command = "ruff format *"
path = ["src/**", "tests/**"]
kinds = ["modify", "create"]
max_changes = 50
"""
    rules(tmp_path, text, "config/policy.toml")
    (tmp_path / "w").mkdir()
    shown = run(tmp_path, "show", "--workspace", str(tmp_path / "w")).stdout
    told = " ".join(shown.split())
    for part in (
        "deny no-push command: git push, npm publish *", "people push, people push,",
        "ask mail tool: send_* server: mail host: *.example.org arguments: to = *@example.org",
        "allow format command: ruff format * path: src/**, tests/** kinds: create, modify",
        "max_changes: 50",
    ):  # fmt: skip
        assert part in told
    lines = [line for line in shown.splitlines() if "sha256" not in line]
    assert max(map(len, lines)) <= 80
    assert "\\n" not in shown
