"""The table of programs: its examples hold, and mistakes in it are found when it is read."""

import re

import pytest

from judging import lane_of
from luminaguard.domain.verdict import Lane
from luminaguard.errors import PolicyError
from luminaguard.policy.programs.loader import built_in, table

TABLE = built_in()
PROGRAMS = {name: found for name in TABLE.names if (found := TABLE.find(name))}
WITH_EXAMPLES = TABLE.programs


@pytest.mark.parametrize("name", sorted(n for n, p in WITH_EXAMPLES.items() if p.safe or p.ask))
def test_the_examples_next_to_an_entry_are_judged_as_they_say(name: str) -> None:
    program = PROGRAMS[name]
    assert [c for c in program.safe if lane_of(c) is not Lane.GREEN] == []
    assert [c for c in program.ask if lane_of(c) is Lane.GREEN] == []


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_an_option_that_is_not_listed_is_asked_about(name: str) -> None:
    program = PROGRAMS[name]
    if program.operands.value in {"literal", "test"}:
        return
    for option in ("--no-such-option", "--no-such-option=x", "-\u00e9", "--outputx", "-@"):
        assert lane_of(f"{name} {option} x") is not Lane.GREEN, option


@pytest.mark.parametrize("name", sorted(n for n, p in PROGRAMS.items() if p.refused))
def test_an_option_that_is_known_to_be_no_read_is_asked_about_in_every_form(name: str) -> None:
    program = PROGRAMS[name]
    for option in program.refused:
        forms = [f"{option} x", f"{option}=x"] if option.startswith("--") else [f"{option} x"]
        if not program.whole and not option.startswith("--"):
            forms.append(f"{option}x")
        for form in forms:
            assert lane_of(f"{name} {form}") is not Lane.GREEN, form
            assert lane_of(f"{name} a {form}") is not Lane.GREEN, form


@pytest.mark.parametrize("text", [
    "[ls]\noption = '-a'", "[ls]\noptions = 'a'", "[ls]\noperands = 'files'", "x = 1",
    "[[effect]]\nx = 1",
    "[ls]\noptions = '-a'\nwrites = '-a'", "[ls", "[ls]\nreads = 'all'",
])  # fmt: skip
def test_a_mistake_in_the_table_is_found_when_it_is_read(text: str) -> None:
    with pytest.raises((PolicyError, ValueError)) as caught:
        table({"mine.toml": text})
    assert str(caught.value)


def test_an_unknown_key_comes_with_a_suggestion() -> None:
    with pytest.raises(PolicyError) as caught:
        table({"mine.toml": "[ls]\noptoins = '-a'"})
    assert "options" in (caught.value.hint or "")


def test_every_expression_for_operands_compiles() -> None:
    for program in TABLE.programs.values():
        re.compile(program.each)
