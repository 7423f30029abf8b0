"""The log as JSON Lines that anybody can verify without LuminaGuard or its database.

The first line holds the signed head and the public key; each further line is one record. All is
ASCII: text is escaped, so that an export can be looked at on any terminal.
"""

import json
import sqlite3
from typing import BinaryIO

from luminaguard.audit.chain import FORMAT
from luminaguard.audit.head import SignedHead
from luminaguard.audit.query import Query, find
from luminaguard.domain.calls import JsonValue


def export(
    database: sqlite3.Connection,
    signed: SignedHead,
    public_key: str,
    to: BinaryIO,
    *,
    root: SignedHead | None = None,
) -> int:
    """Write the log up to its head, and return how many records that are.

    Args:
        database: The records.
        signed: The head to end at.
        public_key: The log's, hexadecimal.
        to: Where to.
        root: Up to where records were taken out before; they are not in the export.

    Raises:
        ValueError: a stored record cannot be read.
        OSError: `to` cannot be written.
    """
    first = {
        "format": "luminaguard audit export",
        "v": FORMAT,
        "public_key": public_key,
        **signed.as_json(),
        **({"root": root.as_json()} if root else {}),
    }
    to.write(_line(first))
    count = 0
    for record in find(database, Query(newest_first=False, limit=0)):
        if root and record.seq <= root.head.seq:
            continue
        if record.seq > signed.head.seq:
            break
        to.write(_line(record.as_json()))
        count += 1
    return count


def _line(fields: dict[str, JsonValue]) -> bytes:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("\x7f", "\\u007f").encode("ascii") + b"\n"
