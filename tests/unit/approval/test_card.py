"""A card that does not tell the truth about its request cannot be made."""

import json
from dataclasses import replace

import pytest

from luminaguard.approval.card import RECORDED_LINES
from luminaguard.approval.summary import summary_line
from luminaguard.domain.calls import ToolCall, canonical_json
from luminaguard.domain.changeset import Change, ChangeKind, Changeset
from luminaguard.domain.diff import Body, FileDiff
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.verdict import Risk
from luminaguard.errors import ApprovalError
from luminaguard.testing.cards import card_of, file_entry, text_card

CALL = ToolCall(call_id="1", tool="exec", arguments={"argv": ["true"]})
CARD = text_card({"a.txt": ("old", "new"), "b.txt": ("gone\nfor good", None)})


@pytest.mark.guarantee("G2")
def test_another_call_another_effect_or_another_base_is_refused() -> None:
    other = text_card({"a.txt": ("old", "newer")})
    for part in (
        {"call": CALL},
        {"changeset": other.changeset, "diffs": other.diffs},
        {"changeset": replace(CARD.changeset, base="1" * 64)},
        {"request": replace(CARD.request, changeset_digest="x")},
    ):
        with pytest.raises(ApprovalError, match="another"):
            replace(CARD, **part)


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize(
    "diffs",
    [
        (),
        (FileDiff(path="x", body=Body.NONE),),
        (FileDiff(path="x", body=Body.TEXT),),
        (FileDiff(path="y", body=Body.BINARY),),
    ],
)
def test_content_that_changes_unseen_is_refused(diffs: tuple[FileDiff, ...]) -> None:
    change = Change(
        path="x", kind=ChangeKind.MODIFY, before=file_entry(b"old"), after=file_entry(b"new")
    )
    with pytest.raises(ApprovalError, match="cannot show"):
        card_of(Changeset(base="0", changes=(change,)), diffs, call=CALL)


def test_a_mode_change_and_an_empty_file_need_no_difference_by_lines() -> None:
    changes = (
        Change(
            path="a",
            kind=ChangeKind.CHMOD,
            before=file_entry(b"same"),
            after=file_entry(b"same", 0o755),
        ),
        Change(path="b", kind=ChangeKind.CREATE, before=None, after=file_entry(b"")),
    )
    empty = FileDiff(path="b", body=Body.NONE)
    card = card_of(Changeset(base="0", changes=changes), (empty,), call=CALL)
    assert [diff for _, diff in card.sections()] == [None, empty]


def test_the_risk_shown_is_the_higher_of_predicted_and_measured() -> None:
    assert text_card({"a": (None, "x")}, risk=Risk.CRITICAL).risk is Risk.CRITICAL
    verdict = replace(CARD.verdict, risk=Risk.HIGH)
    assert replace(CARD, verdict=verdict, measured_risk=Risk.LOW).risk is Risk.HIGH


def test_a_summary_counts_kinds_and_lines() -> None:
    assert summary_line(CARD.changeset) == "2 paths change: 1 modified, 1 deleted"
    assert summary_line(Changeset(base="0")) == "no file changes"
    assert (CARD.summary.added, CARD.summary.removed) == (1, 3)


@pytest.mark.guarantee("G9")
def test_a_record_keeps_measured_predicted_and_reported_apart_and_counts_what_it_leaves_out() -> (
    None
):
    long = "\n".join(str(number) for number in range(RECORDED_LINES + 500))
    report = GuestReport(ended=Ended.EXITED, exit_code=0, stdout=b"\xff\x1b[2J" + b"x" * 9000)
    card = replace(
        text_card({"a": (None, long), "b": (None, "1\n2")}, report=report), predicted=("a mail",)
    )
    record = json.loads(canonical_json(card.as_json()))
    diffs = record["measured"]["diffs"]
    kept = sum(len(hunk["lines"]) for diff in diffs for hunk in diff["hunks"])
    assert kept == RECORDED_LINES
    assert kept + sum(diff["lines_left_out"] for diff in diffs) == RECORDED_LINES + 500 + 2
    assert record["predicted"] == ["a mail"]
    said = record["guest_says"]["stdout"]
    assert said["bytes"] == 9005
    assert said["excerpt"].startswith(r"<0xFF>\x1b[2Jxxx")
