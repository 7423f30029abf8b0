"""What the input schema of a tool, and the names of the arguments given, say of its effect.

An optional argument that is not given cannot do anything, so only those that are required or given
count. Text in a schema is read by the model like the description: it may not plead either.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import cast

from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.policy.findings import shown
from luminaguard.policy.mcp.evidence import ADDRESS, PLEADS, UNREADABLE, Evidence
from luminaguard.policy.mcp.lexicon import Class, lexicon
from luminaguard.policy.mcp.names import words_of
from luminaguard.policy.mcp.prose import is_hiding

MAX_SCHEMA_CHARS = 65_536
"""Longer ones are not read. Real ones are below 20,000."""
_MAX_DEPTH = 24


def judge_schema(tool: str, schema: Mapping[str, JsonValue]) -> tuple[Evidence, ...]:
    """Return what a schema says against its tool."""
    if not schema:
        return ()
    try:
        text = canonical_json(schema).decode("utf-8", "surrogatepass")
    except (ValueError, TypeError, RecursionError):
        return (_unreadable("the input schema is not JSON"),)
    return _judged(tool, text)


@lru_cache(maxsize=512)
def _judged(tool: str, text: str) -> tuple[Evidence, ...]:
    if len(text) > MAX_SCHEMA_CHARS:
        return (_unreadable(f"the input schema is {len(text)} characters long"),)
    if is_hiding(text):
        return (_unreadable("the input schema holds characters that cannot be seen"),)
    schema = cast("Mapping[str, JsonValue]", json.loads(text))
    found = list(_pleas(schema, _MAX_DEPTH))
    required = schema.get("required")
    if isinstance(required, list):
        found += judge_fields(tool, [field for field in required if isinstance(field, str)])
    return tuple(dict.fromkeys(found))


def judge_fields(tool: str, fields: list[str]) -> list[Evidence]:
    """Return what the names of arguments say that are required or given."""
    known = lexicon()
    spelled = {"_".join(words_of(field)): field for field in fields}
    found = [
        _taken(known.fields[name], field, tool)
        for name, field in spelled.items()
        if name in known.fields
    ]
    if "to" in spelled:
        found += [
            _taken(known.sends, spelled[name], tool) for name in spelled if name in known.sent
        ]
    if known.capturing.intersection(words_of(tool)):
        found += [
            _taken(known.captured, field, tool)
            for name, field in spelled.items()
            if name in known.captures
        ]
    return found


def _taken(means: Class, field: str, tool: str) -> Evidence:
    goes = "goes to the address" if means is ADDRESS else "acts on what stands"
    why = f"{shown(tool)} takes the argument {shown(field)}, so it {goes} there"
    return Evidence(means=means, deciding=field, why=why)


def _pleas(value: JsonValue, depth: int) -> Iterator[Evidence]:
    """Yield the texts in a schema that speak about how the tool should be treated."""
    if depth == 0:
        yield _unreadable("the input schema is nested too deeply")
    elif isinstance(value, str):
        if len(value) > 8 and (match := lexicon().pleads.search(value.lower())):
            why = f"{shown(match.group())} in its input schema is about how it should be treated"
            yield Evidence(means=PLEADS, deciding=match.group(), why=why)
    elif isinstance(value, list):
        for inner in value:
            yield from _pleas(inner, depth - 1)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _pleas(inner, depth - 1)


def _unreadable(why: str) -> Evidence:
    return Evidence(means=UNREADABLE, deciding="input schema", why=why)
