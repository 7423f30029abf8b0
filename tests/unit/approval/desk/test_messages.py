"""Messages come back as they were sent; anything else is refused, never an accident."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.approval.codec.fields import Fields
from luminaguard.approval.desk.desk import Answer
from luminaguard.approval.desk.messages import (
    Look,
    OpenLine,
    answer_from,
    answer_json,
    decision_from,
    decision_json,
    error_json,
    look_from,
    raise_error,
)
from luminaguard.approval.desk.refusals import NotProven, RequestSpent
from luminaguard.domain.approval import Decision, End
from luminaguard.errors import ApprovalError

AT = datetime(2026, 11, 21, 12, 30, 0, 123, tzinfo=UTC)
NAMES = [
    "v", "op", "digest", "end", "reason", "grant", "version", "approver", "open", "origin",
    "opened_at", "decision", "request_digest", "at", "proof", "error", "code", "message", "hint",
]  # fmt: skip
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=70)
    | st.sampled_from(["approved", "expired", "a" * 64, AT.isoformat(), "approval-decided"])
)
OBJECTS = st.recursive(
    VALUES,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=8)
    ),
    max_leaves=20,
)


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("read", [answer_from, look_from, decision_from, raise_error])
@given(value=OBJECTS)
def test_whatever_is_said_is_read_or_refused(
    read: Callable[[Fields], object], value: object
) -> None:
    try:
        read(Fields(value))
    except ApprovalError:
        return


def test_what_is_said_is_what_is_heard() -> None:
    answer = Answer(end=End.REJECTED, reason="ünï\u202e")
    assert answer_from(Fields(answer_json("d" * 64, answer))) == answer
    decision = Decision(
        end=End.APPROVED,
        request_digest="d" * 64,
        approver="queue",
        reason="fine",
        at=AT,
        proof="p",
        grant="g",
    )
    assert decision_from(Fields(decision_json(decision))) == decision
    line = OpenLine(digest="e" * 64, origin="process 1", opened_at=AT)
    look = Look(version=3, approver="queue", lines=(line,))
    assert look_from(Fields(look.as_json())) == look


@pytest.mark.parametrize("kind", [RequestSpent, NotProven])
def test_an_error_arrives_as_itself(kind: type[ApprovalError]) -> None:
    sent = error_json(kind("so it is", hint="do that"))
    with pytest.raises(kind, match="so it is") as arrived:
        raise_error(Fields(sent))
    assert arrived.value.hint == "do that"
