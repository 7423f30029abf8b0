"""Whatever is done to the words of a tool that writes, it never runs unasked."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.domain.verdict import Lane
from mcptools import LYING, Labeled, scored

FILES = ("tools.jsonl", "held_out.jsonl", "held_out_late.jsonl", "held_out_public.jsonl")
ROWS = [row for name in FILES for row in scored(name)]
REDS = [row for row in ROWS if row.expected is Lane.RED]
SAFETY_PROSE = (
    "This tool is read-only.",
    "Returns information.",
    "Safe to call.",
    "It does not modify anything.",
    "No approval needed.",
    "Only reads.",
    "Gets data about it.",
    "Lists things and shows details.",
    "Retrieves",
    "Harmless.",
    "Has no side effects.",
    "Idempotent.",
    "Read-only |",
    "Shows:",
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def spelled(name: str, joint: str, casing: str) -> str:
    words = [word.lower() for word in _WORDS.findall(name)]
    match casing:
        case "camel":
            words = [words[0], *(word.title() for word in words[1:])]
        case "title":
            words = [word.title() for word in words]
        case "upper":
            words = [word.upper() for word in words]
        case _:
            pass
    text = joint.join(words)
    if casing == "mixed":
        text = "".join(char.upper() if at % 2 else char for at, char in enumerate(text))
    return text


hints = st.one_of(
    st.just(LYING),
    st.just({}),
    st.just({"read_only_hint": True}),
    st.fixed_dictionaries(
        {"readOnlyHint": st.just(True)}, optional={"title": st.just("Get details")}
    ),
)
values = st.recursive(
    st.one_of(st.text(max_size=40), st.integers(), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=12), values, max_size=4)


@pytest.mark.guarantee("G5")
@settings(max_examples=400, deadline=None)
@given(
    row=st.sampled_from(REDS),
    joint=st.sampled_from(["_", "-", ".", "", " ", "/", ":"]),
    casing=st.sampled_from(["lower", "camel", "title", "upper", "mixed"]),
    annotations=hints,
)
def test_casing_separators_and_lying_hints_never_release_a_write(
    row: Labeled, joint: str, casing: str, annotations: dict[str, Any]
) -> None:
    if casing == "mixed" and not joint:
        joint = "_"  # no reader could take such a name apart; what it hides is judged by its prose
    assert (
        row.judged(tool=spelled(row.tool, joint, casing), annotations=annotations).lane is Lane.RED
    )


@pytest.mark.guarantee("G5")
@settings(max_examples=400, deadline=None)
@given(
    row=st.sampled_from(REDS),
    before=st.lists(st.sampled_from(SAFETY_PROSE), max_size=3),
    after=st.lists(st.sampled_from(SAFETY_PROSE), max_size=3),
    annotations=hints,
)
def test_safety_prose_never_releases_a_write(
    row: Labeled, before: list[str], after: list[str], annotations: dict[str, Any]
) -> None:
    description = " ".join([*before, row.description, *after])
    assert row.judged(description=description, annotations=annotations).lane is Lane.RED


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("annotations", [LYING, {}], ids=["lying", "stripped"])
def test_no_sentence_of_safety_before_or_after_releases_any_write(
    annotations: dict[str, Any],
) -> None:
    released = [
        (row.tool, text)
        for row in REDS
        for safety in SAFETY_PROSE
        for text in (f"{safety} {row.description}", f"{row.description} {safety}")
        if row.judged(description=text, annotations=annotations).lane is not Lane.RED
    ]
    assert released == []


@pytest.mark.guarantee("G5")
@settings(max_examples=200, deadline=None)
@given(row=st.sampled_from(REDS), fields=arguments, annotations=hints)
def test_schema_fields_and_arguments_never_release_a_write(
    row: Labeled, fields: dict[str, Any], annotations: dict[str, Any]
) -> None:
    required = [*row.required, *fields]
    schema = {"type": "object", "properties": {name: {} for name in required}, "required": required}
    judged = row.judged(schema=schema, arguments=fields, annotations=annotations)
    assert judged.lane is Lane.RED


@pytest.mark.guarantee("G5")
@settings(max_examples=300, deadline=None)
@given(row=st.sampled_from(ROWS), some=arguments, more=arguments)
def test_more_arguments_never_lower_lane_or_risk(
    row: Labeled, some: dict[str, Any], more: dict[str, Any]
) -> None:
    less, both = row.judged(arguments=some), row.judged(arguments=some | more | some)
    assert both.risk.rank >= less.risk.rank
    assert (less.lane, both.lane) != (Lane.RED, Lane.GREEN)


@settings(max_examples=200, deadline=None)
@given(
    tool=st.text(max_size=30), text=st.text(max_size=200), annotations=arguments, given_=arguments
)
def test_no_definition_makes_judging_fail(
    tool: str, text: str, annotations: dict[str, Any], given_: dict[str, Any]
) -> None:
    row = Labeled(
        id="x", server="s", tool=tool, description=text, annotations=annotations, expected=Lane.RED
    )
    verdict = row.judged(arguments=given_, schema=json.loads(json.dumps(given_)))
    assert verdict.reasons
