"""A card between processes is the whole card or none, and a recorded one can be drawn again."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.approval.card import RECORDED_LINES, DiffCard
from luminaguard.approval.codec.card import card_from_wire, card_to_wire
from luminaguard.approval.codec.fields import Malformed
from luminaguard.approval.codec.recorded import card_from_record
from luminaguard.approval.look import look_of
from luminaguard.approval.plain import full
from luminaguard.audit.chain import body_from
from luminaguard.audit.redact import redacted
from luminaguard.domain.approval import ApprovalRequest
from luminaguard.domain.calls import JsonValue, ToolCall, canonical_json
from luminaguard.domain.changeset import (
    Change,
    ChangeKind,
    Changeset,
    Entry,
    EntryType,
    Mark,
    Scratch,
)
from luminaguard.domain.diff import Body, FileDiff, Hunk, LineKind
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.isolation import GuestHardening, Isolation, Jail, Tier
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.errors import ApprovalError
from luminaguard.testing.cards import file_entry, text_card, text_diff

TEXT = st.text(st.characters(exclude_categories=()), max_size=12)  # lone surrogates included
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXT, below, max_size=3),
    max_leaves=8,
)  # fmt: skip
MARKS = st.lists(st.builds(Mark, name=TEXT, why=TEXT), max_size=2).map(tuple)
MODE = st.integers(0, 0o777)
FILE = st.binary(max_size=6).flatmap(lambda content: MODE.map(lambda m: file_entry(content, m)))
LINK = st.builds(Entry, type=st.just(EntryType.SYMLINK), mode=st.just(0o777), target=TEXT)
FOLDER = st.builds(Entry, type=st.just(EntryType.DIRECTORY), mode=MODE)
LINES = st.lists(st.tuples(st.sampled_from(LineKind), TEXT), min_size=1, max_size=4).map(tuple)
HUNK = st.builds(Hunk, st.integers(0, 9), st.integers(0, 9), LINES)


@st.composite
def changes(draw: st.DrawFn) -> tuple[tuple[Change, ...], tuple[FileDiff, ...]]:
    paths = sorted(draw(st.sets(TEXT.filter(bool), max_size=4)))
    made: list[Change] = []
    diffs: list[FileDiff] = []
    for path in paths:
        before, after = draw(st.tuples(st.none() | FILE | LINK, FILE | LINK | FOLDER))
        kind, marks = draw(st.sampled_from(ChangeKind)), draw(MARKS)
        made.append(Change(path=path, kind=kind, before=before, after=after, marks=marks))
        hunks = tuple(draw(st.lists(HUNK, min_size=1, max_size=2)))
        body, note = draw(st.sampled_from(Body)), draw(TEXT)
        diffs.append(FileDiff(path=path, body=body, added=3, removed=1, hunks=hunks, note=note))
    return tuple(made), tuple(diffs)


@st.composite
def cards(draw: st.DrawFn) -> DiffCard:
    made, diffs = draw(changes())
    changeset = Changeset(
        base=draw(TEXT),
        changes=made,
        scratch=Scratch(files=2, size_bytes=99, examples=draw(TEXTS)),
        dropped=draw(TEXTS),
    )
    arguments = draw(st.dictionaries(TEXT, cast("st.SearchStrategy[JsonValue]", JSON), max_size=3))
    call = ToolCall(call_id=draw(TEXT), tool=draw(TEXT), arguments=arguments)
    zone = timezone(timedelta(minutes=draw(st.integers(-700, 700))))
    asked = datetime(2026, 11, 21, 12, tzinfo=UTC) + timedelta(microseconds=draw(st.integers(0, 9)))
    request = ApprovalRequest(
        nonce=draw(TEXT),
        session_id=draw(TEXT),
        workspace=draw(TEXT),
        call_digest=call.digest,
        changeset_digest=changeset.digest,
        base=changeset.base,
        policy_version=draw(TEXT),
        requested_at=asked.astimezone(zone),
        expires_at=asked + timedelta(seconds=300),
        tool_definition=draw(st.none() | TEXT.filter(bool)),
        server=draw(st.none() | TEXT.filter(bool)),
    )
    report = GuestReport(
        ended=draw(st.sampled_from(Ended)),
        exit_code=draw(st.integers(0, 255)),
        signal=draw(st.none() | st.integers(1, 64)),
        stdout=draw(st.binary(max_size=20)),
        stderr=draw(st.binary(max_size=20)),
        stdout_dropped_bytes=draw(st.integers(0, 2**40)),
        leftover=draw(TEXTS),
        duration_s=draw(st.floats(0, 1e6)),
    )
    return DiffCard(
        request=request,
        call=call,
        verdict=Verdict(
            lane=draw(st.sampled_from(Lane)),
            risk=draw(st.sampled_from(Risk)),
            rules=draw(TEXTS),
            reasons=draw(TEXTS),
            only_effect_unknown=draw(st.booleans()),
            changes=draw(TEXTS),
            reaches=draw(TEXTS),
            secrets=draw(TEXTS),
            instead=draw(TEXTS),
            allowed_by=draw(TEXT),
        ),
        measured_risk=draw(st.sampled_from(Risk)),
        isolation=Isolation(
            backend=draw(TEXT),
            tier=draw(st.sampled_from(Tier)),
            accelerator=draw(TEXT),
            jail=Jail(layers=draw(TEXTS), missing=draw(st.dictionaries(TEXT, TEXT, max_size=2))),
            guest=GuestHardening(profile=draw(TEXT), lsm=draw(TEXT)),
        ),
        changeset=changeset,
        diffs=diffs,
        report=draw(st.none() | st.just(report)),
        host_changes=draw(TEXTS),
        left_out=draw(TEXTS),
        git=draw(TEXTS),
        predicted=draw(TEXTS),
        offers=tuple(
            GrantOffer(offer_id=draw(TEXT), scope=scope, covers=draw(TEXT), also=draw(TEXTS))
            for scope in draw(st.lists(st.sampled_from(GrantScope), max_size=2))
        ),
        prose=draw(TEXT),
    )


@pytest.mark.guarantee("G2")
@settings(max_examples=150, deadline=None)
@given(cards())
def test_a_card_comes_back_as_it_was_written(card: DiffCard) -> None:
    back = card_from_wire(card_to_wire(card))
    assert back == card
    assert back.request.digest == card.request.digest
    assert card_to_wire(back) == card_to_wire(card)


def rich() -> DiffCard:
    card = text_card(
        {"a.py": ("one\ntwo", "one\n2"), "b.py": (None, "x" * 50)},
        report=GuestReport(ended=Ended.EXITED, exit_code=0, stdout=b"fine\n\xff", leftover=("d",)),
    )
    offers = (GrantOffer(offer_id="o1", scope=GrantScope.EXACT, covers="just this"),)
    return replace(card, offers=offers, left_out=(".env",), prose="let me")


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("call", "arguments", "command"), "rm -rf ."),
        (("call", "tool"), "exec"),
        (("measured", "changeset", "changes", 0, "after", "sha256"), "0" * 64),
        (("measured", "changeset", "changes", 0, "path"), "other.py"),
        (("measured", "changeset", "base"), "1" * 64),
        (("measured", "diffs"), []),
        (("request", "changeset_digest"), "0" * 64),
    ],
)
def test_a_card_with_another_call_or_effect_than_was_asked_about_is_refused(
    where: tuple[str | int, ...], value: object
) -> None:
    whole = json.loads(card_to_wire(rich()))
    put(whole, where, value)
    with pytest.raises(ApprovalError):
        card_from_wire(canonical_json(whole))


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("form",), 2),
        (("form",), True),
        (("measured", "diffs", 0, "lines_left_out"), 7),
        (("measured", "diffs", 0, "hunks", 0, "lines", 0), "?odd"),
        (("measured", "diffs", 1, "path"), "a.py"),
        (("measured", "changeset", "changes", 0, "after", "mode"), "4755"),
        (("measured", "changeset", "changes", 0, "after", "size"), -1),
        (("measured", "changeset", "changes", 0, "after", "size"), 2**70),
        (("measured", "changeset", "changes", 0, "kind"), "haunt"),
        (("measured", "marks"), [{"path": "a.py", "name": "runs-later", "why": "made up"}]),
        (("measured", "risk"), "none"),
        (("request", "expires_at"), "2026-11-21T12:00:00"),
        (("request", "expires_at"), "tomorrow"),
        (("guest_says", "stdout", "content"), "not base64!"),
        (("guest_says", "stdout", "bytes"), 3),
        (("guest_says", "duration_s"), -1),
        (("left_out",), 4),
        (("offers",), {"offer_id": "o1"}),
        (("prose",), None),
        (("isolation", "jail", "missing"), {"layer": 3}),
        (("verdict",), "red"),
    ],
)
def test_a_card_in_any_other_form_is_refused(where: tuple[str | int, ...], value: object) -> None:
    whole = json.loads(card_to_wire(rich()))
    put(whole, where, value)
    with pytest.raises(Malformed):
        card_from_wire(canonical_json(whole))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"form": NaN}', b"\xff\xfe", b"[" * 100_000, b"1" * 5_000],
)
def test_what_is_no_card_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        card_from_wire(content)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_a_cards_bytes_makes_another_request_or_an_accident(data: Any) -> None:
    written = bytearray(card_to_wire(WHOLE))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        card = card_from_wire(bytes(written))
    except ApprovalError:
        return
    assert card.request.call_digest == card.call.digest
    assert card.request.changeset_digest == card.changeset.digest


WHOLE = rich()


@pytest.mark.guarantee("G9")
def test_a_recorded_card_can_be_drawn_and_says_what_it_lacks() -> None:
    long = "".join(f"{number}\n" for number in range(RECORDED_LINES + 300))
    card = text_card(
        {"long.txt": (None, long), "z.txt": ("a", "b")},
        arguments={"command": "deploy --password hunter22 --now"},
        report=GuestReport(ended=Ended.EXITED, exit_code=3, stdout=b"\x1b[31m" + b"x" * 9_000),
    )
    card = replace(
        card,
        left_out=tuple(f"f{number}" for number in range(150)),
        verdict=replace(card.verdict, secrets=("~/.ssh/id_ed25519",)),
    )
    recorded = redacted(body_from(canonical_json({"card": card.as_json()})))
    back = card_from_record(recorded["card"])
    screen = "\n".join(full(back, look_of({}, columns=80, rows=24)))
    assert "hunter22" not in screen
    assert "[redacted]" in screen
    assert back.verdict.secrets == ("~/.ssh/id_ed25519",)
    # The empty last line of long.txt is one more; z.txt has two.
    assert back.lines_left_out == 300 + 1 + 2
    assert "301 further lines are not in the record" in screen
    assert (len(back.left_out), back.names_left_out) == (100, 50)
    assert back.report is not None
    assert back.report.stdout_dropped_bytes == 9_005 - 4_096
    assert [change.path for change, _ in back.sections()] == ["long.txt", "z.txt"]
    assert back.request == card.request


def test_a_record_of_an_older_form_is_refused_clearly() -> None:
    with pytest.raises(Malformed, match="no card that this version can draw"):
        card_from_record({"request": {}})


def test_a_recorded_card_is_no_card_to_be_sent_or_asked_about() -> None:
    cut = text_card({"a": (None, "x\n" * (RECORDED_LINES + 1))}).as_json()
    with pytest.raises(Malformed):
        card_from_wire(canonical_json(cut))


def test_only_the_recorded_form_leaves_anything_out() -> None:
    text = "x\n" * (RECORDED_LINES + 1)
    card = text_card({"a": (None, text)})
    assert card_from_wire(card_to_wire(card)).diffs == (text_diff("a", None, text),)


def put(whole: Any, where: tuple[str | int, ...], value: object) -> None:
    for step in where[:-1]:
        whole = whole[step]
    assert whole[where[-1]] is not value
    whole[where[-1]] = value
