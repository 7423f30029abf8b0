"""Which calls a rule is about: widely where it denies, narrowly where it allows."""

import pytest

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.policy.context import CallContext
from luminaguard.policy.patterns import PathPattern, WordPattern
from luminaguard.policy.rules.facts import facts_of
from luminaguard.policy.rules.match import Match, covers, match
from luminaguard.policy.rules.read import read_rules
from luminaguard.policy.rules.rule import Rule, Tier

CONTEXT = CallContext(workspace="/w")


def rule(text: str) -> Rule:
    (found,) = read_rules(text.encode(), tier=Tier.USER, source="policy.toml")
    return found


def shell(command: str) -> ToolCall:
    return ToolCall(call_id="c", tool="shell", arguments={"command": command})


def matches(text: str, call: ToolCall, server: str = "") -> Match:
    return match(rule(text), facts_of(call, CONTEXT, server=server))


NO_PUSH = '[[deny]]\nname = "no-push"\ncommand = "git push"\n'


@pytest.mark.parametrize("command", [
    "git push", "git push -f origin main", "git -C /x push", "git --no-pager -c a=b push",
    "cd x && git push", "ls; git push", "ls | git push", "(git push)", "echo $(git push)",
    "/usr/bin/git push", "GIT push", "sudo git push", "sudo -n -u x git push", "env A=1 git push",
    "A=1 git push", "timeout 5 git push", "xargs git push", "bash -c 'git push'",
    "bash -c \"bash -c 'git push'\"", "if true; then git push; fi", "git 'push'", 'git pu"sh"',
    "git \\push", "git push > log", "nohup git push &", "find . -exec git push \\;",
    "while true; do git push; done", "f() { git push; }; f",
])  # fmt: skip
def test_a_denied_command_is_found_wherever_it_stands(command: str) -> None:
    assert matches(NO_PUSH, shell(command)) is Match.YES


@pytest.mark.parametrize("command", [
    "git pull", "git status", "echo git push", "grep 'git push' x", "git log", "ls git push",
    "cat push", "git commit -m pushed",
])  # fmt: skip
def test_other_commands_are_not(command: str) -> None:
    assert matches(NO_PUSH, shell(command)) is Match.NO


@pytest.mark.parametrize("command", [
    "python -c \"import os; os.system('git push')\"", "ssh host 'git push'", "git push 'unclosed",
    "eval 'git push'",
])  # fmt: skip
def test_where_it_may_be_meant_it_is_asked_about(command: str) -> None:
    assert matches(NO_PUSH, shell(command)) is not Match.NO


def test_a_program_denied_by_its_path_is_denied_by_every_path() -> None:
    text = '[[deny]]\nname = "x"\ncommand = "/usr/bin/git push"\n'
    assert matches(text, shell("git push")) is Match.YES
    assert matches(text, shell("/opt/git push")) is Match.YES


def test_code_that_holds_a_denied_command_is_asked_about() -> None:
    code: dict[str, JsonValue] = {"code": "subprocess.run(['git', 'push'])"}
    call = ToolCall(call_id="c", tool="python", arguments=code)
    assert matches(NO_PUSH, call) is Match.MAYBE


ALLOW = '[[allow]]\nname = "own"\ncommand = ["frob *", "twiddle --fast"]\n'


@pytest.mark.parametrize("command", [
    "frob", "frob a b", "frob --any", "twiddle --fast", "cd x && frob a", "ls && frob a",
    "frob a | tail -5", "frob a 2>&1", "frob a 2>/dev/null", "frob && twiddle --fast",
    "frob 'a b'", "frob src/*.py", "bash -c 'frob a'", "/usr/bin/frob a",
])  # fmt: skip
def test_what_a_rule_allows_is_covered_word_for_word(command: str) -> None:
    assert covers(rule(ALLOW), facts_of(shell(command), CONTEXT))


@pytest.mark.parametrize("command", [
    "twiddle", "twiddle --fast x", "twiddle --slow", "frob a; rm x", "frob a && make", "sudo frob",
    "A=1 frob", "PATH=. frob", "frob $(make)", "frob $X", "frob > x", "frob < x", "frob <<< x",
    "echo x | frob", "ls | frob", "./frob", "/tmp/frob", "FROB a", "frob *.py", "$F a", "frob 'x",
    "(frob; make)", "frob & make", "xargs frob", "timeout 5 frob", "frob a | sh", "f() { frob; }",
    "frob `make`", "for x in a; do make; done", "frob\nmake", "frob || make",
])  # fmt: skip
def test_what_allows_covers_nothing_else(command: str) -> None:
    assert not covers(rule(ALLOW), facts_of(shell(command), CONTEXT))


def test_standing_input_and_variables_of_the_caller_are_not_covered() -> None:
    extras: list[dict[str, JsonValue]] = [{"stdin_sha256": "0" * 64}, {"env": ["PATH"]}]
    for more in extras:
        call = ToolCall(call_id="c", tool="exec", arguments={"argv": ["frob"], **more})
        assert not covers(rule(ALLOW), facts_of(call, CONTEXT))


def test_conditions_add_up() -> None:
    text = '[[deny]]\nname="x"\ntool="write_file"\npath="docs/**"\n'
    inside: dict[str, JsonValue] = {"path": "docs/a/b.md", "content": ""}
    outside: dict[str, JsonValue] = {"path": "src/a", "content": ""}
    assert matches(text, ToolCall(call_id="c", tool="write_file", arguments=inside)) is Match.YES
    assert matches(text, ToolCall(call_id="c", tool="write_file", arguments=outside)) is Match.NO
    assert matches(text, ToolCall(call_id="c", tool="delete_file", arguments=inside)) is Match.NO


@pytest.mark.parametrize("path", ["docs/a", "./docs/a", "src/../docs/a", "/w/docs/a", "DOCS/A"])
def test_a_path_is_found_however_it_is_written(path: str) -> None:
    text = '[[deny]]\nname="x"\npath="docs/**"\n'
    for call in (
        shell(f"rm {path}"),
        shell(f"touch --reference={path} x"),
        shell(f"make > {path}"),
        ToolCall(call_id="c", tool="read_file", arguments={"path": path}),
    ):
        assert matches(text, call) is Match.YES, call


def test_hosts_are_found_in_addresses() -> None:
    text = '[[deny]]\nname="x"\nhost="*.example.org"\n'
    for command in (
        "curl https://a.example.org/x",
        "git clone git@a.example.org:x",
        "frob --url=http://u@A.example.org:80",
    ):
        assert matches(text, shell(command)) is Match.YES, command
    assert matches(text, shell("curl https://example.net/a.example.org")) is Match.NO


def test_tools_of_servers_are_told_apart_from_built_in_ones() -> None:
    text = '[[allow]]\nname="x"\ntool="send_*"\n'
    call = ToolCall(call_id="c", tool="send_mail", arguments={"to": "a@b"})
    assert not covers(rule(text), facts_of(call, CONTEXT, server="mail"))
    named = '[[allow]]\nname="x"\nserver="mail"\ntool="send_*"\narguments={to="*@b"}\n'
    assert covers(rule(named), facts_of(call, CONTEXT, server="mail"))
    assert not covers(rule(named), facts_of(call, CONTEXT, server="other"))
    assert not covers(rule(named), facts_of(call, CONTEXT))
    untrusted = facts_of(call, CONTEXT, server="mail", trusted=False)
    assert not covers(rule(named), untrusted), "a changed tool asks again"
    missing = ToolCall(call_id="c", tool="send_mail", arguments={})
    assert not covers(rule(named), facts_of(missing, CONTEXT, server="mail"))


@pytest.mark.parametrize(("pattern", "path", "covered"), [
    ("src/**", "src", True), ("src/**", "src/a/b", True), ("src/", "src/a", True),
    ("src/**", "srcs/a", False), ("src/*", "src/a", True), ("src/*", "src/a/b", False),
    ("*.md", "a.md", True), ("*.md", "a/b.md", False), ("**/*.md", "a/b.md", True),
    ("**/*.md", "b.md", True), ("a?.x", "ab.x", True), ("a?.x", "a/.x", False),
    ("[a]", "a", False), ("[a]", "[a]", True), ("a.md", "axmd", False), ("**", "x/y", True),
    ("/etc/**", "/etc/hosts", True),
])  # fmt: skip
def test_path_patterns(pattern: str, path: str, covered: bool) -> None:
    assert PathPattern(pattern).covers(path) is covered


def test_a_star_in_a_call_is_only_a_star() -> None:
    assert not WordPattern.of("git add x").covers(["git", "add", "*"])
    assert WordPattern.of("git add *").covers(["git", "add", "*"])


def test_a_long_call_is_matched_in_time_that_grows_with_its_length() -> None:
    words = ["x", *["--o"] * 5_000]
    assert not WordPattern.of("git push a b").is_in(words, anywhere=True)
