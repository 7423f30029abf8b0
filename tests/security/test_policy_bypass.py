"""Known ways to slip a command past an approval: none of them may come out green.

One list per class of bypass that was reported against other tools.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Lane
from luminaguard.policy.policy import CallContext, Policy
from luminaguard.policy.reads import READERS

pytestmark = pytest.mark.guarantee("G1")

POLICY = Policy()
CONTEXT = CallContext(workspace="/work/project")


def lane_of_shell(command: str) -> Lane:
    call = ToolCall(call_id="c", tool="shell", arguments={"command": command})
    return POLICY.judge(call, CONTEXT).lane


def lane_of_argv(argv: list[str]) -> Lane:
    call = ToolCall(call_id="c", tool="exec", arguments={"argv": [*argv]})
    return POLICY.judge(call, CONTEXT).lane


BYPASSES: dict[str, list[str]] = {
    "chaining": [
        "ls && rm x", "ls;rm x", "ls\nrm x", "ls | sh", "ls & rm x", "ls || rm x",
        "cd x && python y", "ls \\\nrm", "ls\r\nrm x", "ls &&rm x", "echo a&&rm x",
        " && ".join(["ls"] * 60 + ["rm x"]),
    ],
    "wrappers": [
        "env ls", "sudo ls", "watch ls", "timeout 5 ls", "setsid ls", "busybox ls", "xargs ls",
        "sh -c 'rm x'", "bash -c 'ls; rm x'", "bash -c \"sh -c 'rm x'\"", "bash -lc ls", "nice ls",
        "python -c 'print(1)'", "perl -e 1", "ruby -e 1", "node -e 1", "nohup ls", "time ls",
        "command ls", "exec ls", "builtin echo x", "bash -c ls extra", "bash script.sh",
    ],
    "environment": [
        "X=1 ls", "PAGER=sh git log", "GIT_SSH=x ls", "LD_PRELOAD=./x.so ls", "BASH_ENV=x ls",
        "export PATH=.", "typeset x=1", "'X=1' ls", "ls='x' cat y",
    ],
    "options that run or write": [
        "find . -exec rm {} +", "find . -delete", "find . -fprint x", "find . -execdir a b",
        "find . -ok a", "find . -fls x", "find . -fprintf x y", "rg --pre x y",
        "sed -i s/a/b/ f", "sed e",
        "sort -o x y", "git diff --output=x", "git -c core.pager=x log",
        "ssh -o ProxyCommand=x h", "tar -I x",
        "file -C -m x", "file -m x y", "grep -f x y", "wc --files0-from=x", "du --files0-from=x",
        "du -X x", "date -s now", "tail -f x", "tail --follow=name x", "ls --hyperlink=x",
        "grep --exclude-from=.env x", "tail --pid=1 -f x", "file -f names", "file -z x.gz",
        "stat --printf", "head -n", "cat --unknown", "ls --col=always",
    ],
    "options in odd places": [
        "git -C p checkout -- x", "git reset --h", "find -delete .", "ls x --indicator-style=y",
        "cat x -Z", "find -- . -delete", "find . -name", "grep -e", "grep x y -f z",
    ],
    "redirection": [
        "ls > x", "ls >> x", "ls 2> x", "ls &> x", "echo x >| y", "cat <(ls)", "ls > >(cat)",
        "cat < x", "cat <<EOF\nx\nEOF", "exec 3<>/dev/tcp/h/1", "echo x >&3", "ls >x", "ls>x",
    ],
    "expansion": [
        "echo $(rm x)", "echo `rm x`", "echo ${x:-$(rm x)}", "echo ${!x}", "$'\\x72m' x", "{rm,x}",
        "ls *", "ls ~", "echo $((1))", "eval ls", "alias ls=rm", "ls() { rm x; }",
        "trap 'rm x' EXIT", "$(echo ls)", "`echo ls`", '"$x" y', 'ls "$(rm x)"',
        "[[ -n $x ]]", "echo @(a|b)", "!!",
    ],
    "not what it looks like": [
        "ls\u200b", "l\u0455", "rm\u2060", "ls \u202e x", "ls\u00a0x", "ls \u3164", "\ufeffls",
        "ls\tx", "ls " + "a" * 20_000, "ls \x1b[8m", "ls \x00", "\uff4c\uff53",
    ],
    "paths": [
        "cat .env", "cat ./.env", "cat a/../.env", "cat .ENV", "cat .env/", "cat //root/.ssh/x",
        "cat /proc/self/environ", "cat /proc/../proc/1/mem", "cat '/dev/tcp/h/1'", "cat .env.local",
        "cd .ssh && cat x", "cd / && cat etc/shadow", "cat id_rsa", "grep x .netrc", "head .npmrc",
        "cat server.key", "ls .aws", "stat .git-credentials", "cat secrets.yaml", "find .ssh",
        "cd /proc && cat self/environ", "cat /./dev/zero",
    ],
    "same name elsewhere": ["./ls", "/tmp/ls", "bin/ls", "../ls", "/usr/bin/../../tmp/ls", "~/ls"],
}  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, id=f"{kind}: {c[:30]!r}") for kind, cs in BYPASSES.items() for c in cs],
)
def test_a_known_bypass_is_never_green(command: str) -> None:
    assert lane_of_shell(command) is not Lane.GREEN
    assert lane_of_argv(["bash", "-c", command]) is not Lane.GREEN


@pytest.mark.parametrize("argv", [
    ["bash"], ["bash", "-c"], ["bash", "-c", "ls", "x"], ["bash", "-ic", "ls"], ["zsh", "-c", "ls"],
    ["/tmp/bash", "-c", "ls"], ["env", "ls"], ["ls ", "x"], [""], ["git status"],
    ["find", ".", "-delete"], ["cat", ".env"], ["ls", "\u202e"],
    ["cat", "/proc/self/environ"], ["LS"],
    ["echo", "x" * 10_001],
])  # fmt: skip
def test_an_argument_vector_that_is_not_a_plain_read_is_never_green(argv: list[str]) -> None:
    assert lane_of_argv(argv) is not Lane.GREEN


GREEN = ["ls -la src", "cat README.md", "grep -n 'a b' x", "find . -name '*.py'", "cd a && pwd"]
ACTIVE = [
    ";", "&", "|", "||", ">", ">>", "<", "<<", "$(", "`", "$", "${", "(", ")", "{", "}", "*", "?",
    "[", "]", "~", "#", "!", "\\", "\n", "\r", "\t", "\x00", "\u200b", "\u202e", "é", "^",
]  # fmt: skip


def inside_quotes(command: str, at: int) -> bool:
    return command[:at].count("'") % 2 == 1


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(GREEN), st.integers(0, 40), st.sampled_from(ACTIVE), st.text(max_size=5))
def test_a_shell_metacharacter_anywhere_outside_quotes_ends_green(
    command: str, at: int, active: str, rest: str
) -> None:
    at = min(at, len(command))
    if inside_quotes(command, at):
        at = len(command)
    assert lane_of_shell(command) is Lane.GREEN
    assert lane_of_shell(command[:at] + active + command[at:]) is not Lane.GREEN
    assert lane_of_shell(f"{command} {active} {rest}") is not Lane.GREEN


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(READERS)),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12),
)
def test_an_option_that_is_not_listed_ends_green(program: str, name: str) -> None:
    reader = READERS[program]
    if f"--{name.partition('=')[0]}" in {long.rstrip("=") for long in reader.long}:
        return
    assert lane_of_argv([program, f"--{name}"]) is not Lane.GREEN


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_only_listed_programs_are_ever_green(argv: list[str]) -> None:
    if lane_of_argv(argv) is Lane.GREEN:
        assert argv[0] == "echo" or argv[0] in READERS
