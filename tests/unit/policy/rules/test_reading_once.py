"""A verdict and the rules look at one reading of a text, and neither changes it."""

import copy
from pathlib import Path

import pytest

from luminaguard.domain.calls import ToolCall
from luminaguard.policy.context import CallContext
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.book import Rulebook
from luminaguard.policy.rules.files import parsed
from luminaguard.policy.rules.rule import Tier
from luminaguard.policy.shell.reading import reading

RULES = b'[[deny]]\nname = "d"\ncommand = "git push"\n[[allow]]\nname = "a"\ncommand = "tidy *"\n'


@pytest.mark.parametrize("line", ["tidy a.py", "ls | wc -l", "frob 'x", "for i in 1 2; do a; done"])
def test_a_text_is_read_once_for_a_verdict(line: str) -> None:
    policy = Policy(Rulebook(files=(parsed(Tier.USER, Path("policy.toml"), RULES),)))
    reading.cache_clear()
    policy.judge(
        ToolCall(call_id="c", tool="shell", arguments={"command": line}),
        CallContext(workspace="/w"),
    )
    assert (reading.cache_info().misses, reading.cache_info().hits > 0) == (1, True)


@pytest.mark.parametrize("line", ["cd a && tidy b.py", "x=$(ls) frob < y", "sh -c 'ls; tidy b'"])
def test_a_reading_is_the_same_after_it_was_judged(line: str) -> None:
    policy = Policy(Rulebook(files=(parsed(Tier.USER, Path("policy.toml"), RULES),)))
    read = reading(line, "/w")
    before = copy.deepcopy(read)
    for number in range(2):
        policy.judge(
            ToolCall(call_id=str(number), tool="shell", arguments={"command": line}),
            CallContext(workspace="/w"),
        )
    assert reading(line, "/w") is read
    assert read == before


def test_the_directory_is_part_of_what_is_read() -> None:
    inside, outside = (reading("cd sub && ls", at).commands[-1].cwds for at in ("/w", "/x"))
    assert inside != outside
