"""What is read in shell text: commands wherever they stand, words as the shell hands them over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.policy.shell.commands import SimpleCommand
from luminaguard.policy.shell.walk import walked


def commands(text: str) -> list[SimpleCommand]:
    return walked(text, "/w").commands


def words(text: str) -> list[list[str | None]]:
    return [[w.text if w.exact else None for w in c.words] for c in commands(text) if c.words]


@pytest.mark.parametrize(("text", "expected"), [
    ("  ls  -la  ", [["ls", "-la"]]),
    ("echo 'a b' \"c d\"", [["echo", "a b", "c d"]]),
    ("echo 'hello''world' r\"m\" a\\ b", [["echo", "helloworld", "rm", "a b"]]),
    ("echo '' \"\"", [["echo", "", ""]]),
    ("echo \"a\\\"b\\$c\\\\d\\n\"", [["echo", "a\"b$c\\d\\n"]]),
    ("echo $'a\\tb\\x41'", [["echo", "a\tbA"]]),
    ("ls && pwd||id;w|cat", [["ls"], ["pwd"], ["id"], ["w"], ["cat"]]),
    ("echo 'a && b; c | d $(e)'", [["echo", "a && b; c | d $(e)"]]),
    ("ls # rm x", [["ls"]]),
    ("ls \\\n -l", [["ls", "-l"]]),
    ("cat ~/x ~bob/y", [["cat", "/home/user/x", "/home/bob/y"]]),
    ("x=a; cat $x \"$x/b\"", [["cat", "a", "a/b"]]),
    ("for f in a b; do wc $f; done", [["wc", "a"], ["wc", "b"]]),
    ("echo *.py \\*.py '*.py'", [["echo", None, "*.py", "*.py"]]),
    ("cat <<E | wc\n$(id)\nE", [["wc"], ["id"], ["cat"]]),
    ("f() { rm x; }", [["rm", "x"]]),
    ("echo \"a $(id \"$(pwd)\") b\"", [["pwd"], ["id", "/w"], ["echo", None]]),
])  # fmt: skip
def test_every_command_is_seen_with_the_words_that_it_gets(
    text: str, expected: list[list[str | None]]
) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(("text", "cwds"), [
    ("cd a && ls", ("/w/a",)), ("cd a; ls", ("/w", "/w/a")), ("(cd a); ls", ("/w",)),
    ("cd / && cd etc && ls", ("/etc",)), ("cd && ls", ("/home/user",)),
    ("if cd a; then pwd; fi; ls", ("/w", "/w/a")), ("cd a | cat; ls", ("/w",)),
    ("cd a || cd b; ls", ("/w", "/w/a", "/w/b", "/w/a/b")),
])  # fmt: skip
def test_a_command_is_judged_in_every_directory_that_it_may_run_in(
    text: str, cwds: tuple[str, ...]
) -> None:
    assert set(commands(text)[-1].cwds) == set(cwds)


@pytest.mark.parametrize("text", [
    "x=a; x=b; cat $x", "false && x=a; cat $x", "(x=a); cat $x", "cat $x; x=a", "x=a | cat; cat $x",
    "if ls; then x=a; fi; cat $x", "x+=a; cat $x", "x=(a b); cat $x",
])  # fmt: skip
def test_a_variable_whose_value_depends_on_the_way_taken_is_not_told(text: str) -> None:
    last = commands(text)[-1].words if text[-2:] == "$x" else commands(text)[0].words
    assert not last[1].exact


@pytest.mark.parametrize("text", [
    "", " ", "# note", "ls 'x", "((", "ls ;;", "ls | | wc", "a\\\nb", "ls | ls | ls\nrm x && ls",
    "(" * 9000, "$(" * 4000, "a=(" * 3000, "{ " * 4000, "if " * 3000, "x=1 " * 2400, "ls;" * 3000,
    "echo " + "$(echo " * 100 + ")" * 100,
])  # fmt: skip
def test_what_is_not_understood_or_too_much_is_trouble(text: str) -> None:
    assert walked(text, "/w").troubles


@given(st.text(st.sampled_from("ab -/.'\"&;|$`(){}<>*?[]~!#\\\n\t=0\u00e9"), max_size=60))
def test_any_text_is_commands_or_trouble(text: str) -> None:
    script = walked(text, "/w")
    assert script.commands or script.troubles
