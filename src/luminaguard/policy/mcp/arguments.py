"""What the arguments of a call say of its effect. They can only speak against it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from luminaguard.domain.calls import JsonValue
from luminaguard.policy.findings import shown
from luminaguard.policy.mcp.evidence import (
    ADDRESS,
    CODE,
    PLEADS,
    SECRET,
    UNREADABLE,
    Evidence,
)
from luminaguard.policy.mcp.lexicon import UNKNOWN, Class, Form, Kind, lexicon
from luminaguard.policy.mcp.names import judge_name, words_of
from luminaguard.policy.mcp.prose import is_hiding
from luminaguard.policy.mcp.schema import judge_fields
from luminaguard.policy.mcp.sql import looks_like_sql, why_not_a_read
from luminaguard.policy.paths import is_kernel_file, secret_in_text

_MAX_VALUES = 1_000
_MAX_DEPTH = 16
_MAX_CHARS = 16_384
_MAX_TEXT_CHARS = 4_096
"""A read is asked for in few words; more may be data on its way out."""
_MAX_BLOB_CHARS = 80
_MAX_COMPONENT_CHARS = 24
"""A path has a slash at least this often, on the average."""
_MAX_CURSOR_CHARS = 512
_MAX_OPERATION_CHARS = 64

_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}):(//[^\s\"'<>]+)", re.IGNORECASE)
_SCRIPT_URL = re.compile(r"(?:^|\s)(?:javascript|data|vbscript|file):\S", re.IGNORECASE)
_PRIVATE_HOST = re.compile(
    r"//(?:[^/@]*@)?(?:localhost|\[|127\.|10\.|0\.|169\.254\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|"
    r"metadata\b|\d+(?:[/:]|$)|0x|[^/:]+\.(?:internal|local|localhost)\b)",
    re.IGNORECASE,
)
_SHELL = re.compile(
    r"\$\(|\$\{IFS\}|`[^`\n]+`|<\(|/dev/(?:tcp|udp)/|"
    r"(?:[;&|\n]|^)\s*(?:sudo\s+)?(?:rm|curl|wget|sh|bash|zsh|nc|ncat|python3?|perl|ruby|node|chmod|"
    r"chown|dd|mkfs|scp|ssh|eval|exec|kill|cat|echo|tee|powershell|cmd)\s+\S"
)
_BLOB = re.compile(rf"[A-Za-z0-9+/=_%-]{{{_MAX_BLOB_CHARS + 1},}}")
_GRAPHQL = re.compile(r"^\s*mutation\b[^{]*\{", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Value:
    """One scalar among the arguments."""

    name: str
    """Of the nearest key above."""
    value: str | int | float | bool | None


def judge_arguments(tool: str, arguments: Mapping[str, JsonValue]) -> list[Evidence]:
    """Return what speaks against these arguments; empty if they are those of a read."""
    given = [key for key, value in arguments.items() if value not in (None, "", [], {}, False)]
    found = judge_fields(tool, given[:_MAX_VALUES])
    chars = 0
    for count, one in enumerate(_values("", arguments, _MAX_DEPTH)):
        chars += len(one.value) if isinstance(one.value, str) else 0
        if count > _MAX_VALUES or chars > _MAX_CHARS or one.name == _TOO_DEEP:
            return [*found, _not_read("the arguments are too many, too long or nested too deeply")]
        found.extend(_judge_value(one))
    return found


_TOO_DEEP = "\0deep"


def _values(name: str, value: JsonValue, depth: int) -> Iterator[_Value]:
    if depth == 0:
        yield _Value(_TOO_DEEP, None)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield _Value("", key)
            yield from _values(key, inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(name, inner, depth - 1)
    else:
        yield _Value(name, value)


def _judge_value(one: _Value) -> Iterator[Evidence]:
    known = lexicon()
    if isinstance(one.value, bool):
        if one.value and (evidence := _asks_to_write(one.name)):
            yield evidence
        return
    if not isinstance(one.value, str) or not one.value:
        return
    if one.value in known.mongo_writes:
        yield _says(CODE, one.value, "writes, or runs code in the database")
    yield from _judge_text(one.value, one.name)
    spelled = "_".join(words_of(one.name))
    if spelled in known.operations:
        yield from _judge_operation(one.value)
    is_sql = spelled in known.sql_fields or looks_like_sql(one.value)
    if is_sql and (token := why_not_a_read(one.value)):
        yield _says(CODE, token, "is not known to only read in SQL")


def _asks_to_write(name: str) -> Evidence | None:
    """`create_if_missing: true`, `mark_as_read: true`."""
    known = lexicon().words
    for at, token in enumerate(words_of(name)):
        word = known.get(token, UNKNOWN)
        is_verb = at == 0 or word.kind is Kind.WRITE
        if word.means and is_verb and word.form is Form.BASE:
            return Evidence(means=word.means, deciding=name, why=f"{shown(name)} is asked for")
    return None


def _judge_operation(value: str) -> Iterator[Evidence]:
    """`method: "delete"` of a tool that does several things."""
    if len(value) > _MAX_OPERATION_CHARS:
        yield _not_read("the operation's name is too long")
        return
    for evidence in judge_name(value).against:
        why = f"the call asks for {shown(value)}"
        yield Evidence(means=evidence.means, deciding=evidence.deciding, why=why)


def _judge_text(text: str, name: str) -> Iterator[Evidence]:
    if len(text) > _MAX_TEXT_CHARS:
        yield _not_read(f"{len(text)} characters are more than a read asks for")
        return
    if is_hiding(text):
        yield _not_read("the arguments hold characters that cannot be seen")
    if len(text) < 3:
        return
    if match := lexicon().pleads.search(text.lower()):
        yield _says(PLEADS, match.group(), "is an instruction, not something to look for")
    if secret := _secret_path(text):
        yield Evidence(means=SECRET, deciding=secret, why=f"{shown(secret)} is named like a secret")
    if text.startswith("/") and is_kernel_file(text):
        yield Evidence(means=SECRET, deciding=text, why=f"{shown(text)} is no ordinary file")
    yield from _judge_carried(text, name)


def _secret_path(text: str) -> str | None:
    """Return what is named like a file or key that holds a secret; to search for words is fine."""
    named = " ".join(word for word in text.split() if not word.isalpha())
    return secret_in_text(named)


def _judge_carried(text: str, name: str) -> Iterator[Evidence]:
    """Yield addresses that carry data, shell text, and data that no person would write."""
    for match in _URL.finditer(text):
        if problem := _of_url(match[1].lower(), match[2]):
            yield _says(ADDRESS, match.group(), problem)
    if match := _SCRIPT_URL.search(text):
        yield _says(CODE, match.group().strip(), "is an address that acts by itself")
    if match := _SHELL.search(text):
        yield _says(CODE, match.group().strip(), "is something for a shell to run")
    if _GRAPHQL.match(text):
        yield _says(CODE, "mutation", "changes something in GraphQL")
    is_cursor = len(text) <= _MAX_CURSOR_CHARS and "_".join(words_of(name)) in lexicon().cursors
    if not is_cursor and (match := _BLOB.search(text)) and not _is_path(match.group()):
        yield _not_read(f"{shown(match.group())} may be data on its way out")


def _is_path(text: str) -> bool:
    return text.count("/") >= len(text) / _MAX_COMPONENT_CHARS


def _of_url(scheme: str, rest: str) -> str | None:
    if scheme not in {"http", "https"}:
        return "is not an ordinary web address"
    if _PRIVATE_HOST.match(rest):
        return "is an address inside a private network"
    authority, _, path = rest[2:].partition("/")
    if "@" in authority or "?" in rest or "#" in path:
        return "can carry data"
    return None


def _says(means: Class, token: str, what: str) -> Evidence:
    return Evidence(means=means, deciding=token, why=f"{shown(token)} in the arguments {what}")


def _not_read(why: str) -> Evidence:
    return Evidence(means=UNREADABLE, deciding="arguments", why=why)
