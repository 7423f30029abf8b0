"""The hash chain: one byte form per record, each hash taken over the one before.

A record's hash is SHA-256 over the canonical JSON of all its other fields and the format version.
Whoever can read JSON and sort keys can check it; `examples/verify_audit.py` does.
"""

import json
from dataclasses import replace
from hashlib import sha256
from typing import cast

from luminaguard.audit.records import Entry, JsonObject, Record
from luminaguard.domain.calls import canonical_json

FORMAT = 1
FIRST_PREV = "0" * 64
"""What stands in the first record for the hash of one before it."""


def record_bytes(record: Record, body: bytes | None = None) -> bytes:
    """Return the byte form that a record's hash is taken over.

    `body` are the body's bytes as they were stored, which saves writing them again: a body that is
    stored in any other than its canonical form then has another hash.
    """
    fields = record.as_json()
    del fields["hash"], fields["body"]
    rest = canonical_json({**fields, "v": FORMAT})
    return (
        b'{"body":' + (body or canonical_json(record.body)) + b"," + rest[1:]
    )  # "body" sorts first


def hash_of(record: Record, body: bytes | None = None) -> str:
    """Return what the record's hash must be, hexadecimal; `body` as in `record_bytes`."""
    return sha256(record_bytes(record, body)).hexdigest()


def link(entry: Entry, *, seq: int, time: str, prev: str) -> Record:
    """Return the record that continues the chain after `prev` with this entry.

    The body must be as JSON reads it (lists, text keys), so that a reader finds what was hashed.

    Raises:
        TypeError: the body holds something that JSON has no form for.
        ValueError: the body holds a number that is not finite.
    """
    unhashed = Record(
        seq=seq,
        time=time,
        kind=entry.kind.value,
        session_id=entry.session_id,
        call_id=entry.call_id,
        body=entry.body,
        prev=prev,
        hash="",
    )
    return replace(unhashed, hash=hash_of(unhashed))


def body_from(content: bytes) -> JsonObject:
    """Read a stored body.

    Raises:
        ValueError: it is not a JSON object.
    """
    body: object = json.loads(content.decode("utf-8", "surrogatepass"))
    if not isinstance(body, dict):
        raise ValueError("a record's body must be a JSON object")  # noqa: TRY004 - stored content
    return cast("JsonObject", body)
