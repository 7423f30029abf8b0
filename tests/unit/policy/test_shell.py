"""What the strict shell reader understands, and that it understands nothing else."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.policy.shell import NotUnderstood, parse


@pytest.mark.parametrize(("command", "expected"), [
    ("ls", (("ls",),)),
    ("  ls  -la  ", (("ls", "-la"),)),
    ("echo 'a b' \"c d\"", (("echo", "a b", "c d"),)),
    ("echo 'hello''world'", (("echo", "helloworld"),)),
    ("'rm' -rf /", (("rm", "-rf", "/"),)),
    ('r"m" -rf /', (("rm", "-rf", "/"),)),
    ("echo ''", (("echo", ""),)),
    ("ls && pwd&&ls a", (("ls",), ("pwd",), ("ls", "a"))),
    ("echo 'a && b; c | d $(e)'", (("echo", "a && b; c | d $(e)"),)),
    ("X=1 ls", (("X=1", "ls"),)),
])  # fmt: skip
def test_plain_words_quotes_and_sequences_are_understood(
    command: str, expected: tuple[tuple[str, ...], ...]
) -> None:
    assert parse(command) == expected


@pytest.mark.parametrize("command", [
    "", " ", "&&", "ls &&", "&& ls", "ls && && pwd", "ls & pwd", "ls ; pwd", "ls\npwd", "ls | wc",
    "ls || pwd", "ls > x", "ls 2>&1", "cat < x", "cat <<EOF\nx\nEOF", "cat <<< x", "echo $HOME",
    "echo ${x}", "echo $(ls)", "echo `ls`", 'echo "$HOME"', 'echo "`ls`"', "echo *", "echo ?",
    "echo [a]", "echo {a,b}", "ls ~", "ls ~user", "echo a\\ b", "ls \\\n-l", "ls # note", "(ls)",
    "{ ls; }", "! ls", "echo 'open", 'echo "open', "echo $'\\x41'", "ls\t-l", "ls\r", "cat 你好",
    "ls\u200b", "ls \u202e", "rm\u2060", "a^b", "ls \x00", 'echo "a\\"b"', "ls &&& pwd", "echo 'é'",
])  # fmt: skip
def test_everything_else_is_not_understood(command: str) -> None:
    assert isinstance(parse(command), NotUnderstood)


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126)), min_size=1))
def test_what_is_understood_is_what_a_posix_shell_would_read(words: list[str]) -> None:
    quoted = shlex.join(words)
    understood = parse(quoted)
    if isinstance(understood, NotUnderstood):
        return
    assert understood == (tuple(words),)


@given(st.text(st.sampled_from("ab -/.'\"&;|$`(){}<>*?[]~!#\\\n\t=é")))
def test_the_reader_agrees_with_another_reader_or_gives_up(command: str) -> None:
    understood = parse(command)
    if not isinstance(understood, NotUnderstood) and len(understood) == 1:
        assert understood[0] == tuple(shlex.split(command))
