"""The chain: any change to any record breaks it, whatever the records hold."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.audit.chain import FIRST_PREV, body_from, hash_of, link, record_bytes
from luminaguard.audit.records import Entry, Record, RecordKind
from luminaguard.domain.calls import canonical_json

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),  # lone surrogates too: argument vectors hold them
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=8,
)
_BODIES = st.dictionaries(st.text(max_size=8), _VALUES, max_size=4)
_ENTRIES = st.builds(
    Entry,
    kind=st.sampled_from(RecordKind),
    body=_BODIES,
    session_id=st.text(max_size=8),
    call_id=st.none() | st.text(max_size=8),
)


def chain(entries: list[Entry]) -> list[Record]:
    records: list[Record] = []
    prev = FIRST_PREV
    for seq, entry in enumerate(entries, 1):
        records.append(link(entry, seq=seq, time="2026-01-31T12:00:00.000000Z", prev=prev))
        prev = records[-1].hash
    return records


def holds(records: list[Record]) -> bool:
    prevs = [FIRST_PREV, *(record.hash for record in records)]
    return all(
        record.hash == hash_of(record) and record.prev == prev and record.seq == seq
        for seq, (record, prev) in enumerate(zip(records, prevs, strict=False), 1)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(_ENTRIES, min_size=1, max_size=5))
def test_a_chain_holds_and_survives_being_stored(entries: list[Entry]) -> None:
    records = chain(entries)
    assert holds(records)
    stored = [replace(record, body=body_from(canonical_json(record.body))) for record in records]
    assert holds(stored)


@settings(max_examples=100, deadline=None)
@given(st.lists(_ENTRIES, min_size=2, max_size=5), st.data())
def test_any_change_of_any_field_breaks_the_chain(
    entries: list[Entry], data: st.DataObject
) -> None:
    records = chain(entries)
    at = data.draw(st.integers(0, len(records) - 1))
    field = data.draw(
        st.sampled_from(["seq", "time", "kind", "session_id", "call_id", "body", "prev", "hash"])
    )
    old = getattr(records[at], field)
    values = st.integers() if field == "seq" else _BODIES if field == "body" else st.text()
    new = data.draw(values.filter(lambda value: canonical_json(value) != canonical_json(old)))
    records[at] = replace(records[at], **{field: new})
    assert not holds(records)


@settings(max_examples=60, deadline=None)
@given(st.lists(_ENTRIES, min_size=3, max_size=6), st.data())
def test_leaving_out_or_swapping_records_breaks_the_chain(
    entries: list[Entry], data: st.DataObject
) -> None:
    records = chain(entries)
    at = data.draw(st.integers(0, len(records) - 2))
    assert not holds(records[:at] + records[at + 1 :])
    swapped = [*records]
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    assert not holds(swapped)


def test_the_hashed_bytes_are_the_canonical_json_that_the_documentation_names() -> None:
    entry = Entry(kind=RecordKind.SESSION_STARTED, body={"b": 1, "ä": "x"}, session_id="s")
    record = link(entry, seq=1, time="2026-01-31T12:00:00.000000Z", prev=FIRST_PREV)
    assert record_bytes(record).decode() == (
        '{"body":{"b":1,"ä":"x"},"call_id":null,"kind":"session.started","prev":"'
        + FIRST_PREV
        + '","seq":1,"session_id":"s","time":"2026-01-31T12:00:00.000000Z","v":1}'
    )
    assert json.loads(record_bytes(record))["v"] == 1


def test_a_body_that_is_not_an_object_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="JSON object"):
        body_from(b"[]")
