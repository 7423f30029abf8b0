"""Keeping secrets out of records, by structure first and by well-known shapes second.

What a value is called says most: the value of a variable, header, option or key with a secret's
name is left out whatever it looks like. Beyond that, tokens of known shapes are found in any text.
A record says `[redacted]` where something was; digests in records are of the unredacted whole.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

from luminaguard.audit.records import JsonObject
from luminaguard.domain.calls import JsonValue

REDACTED = "[redacted]"

_SECRET_WORDS = frozenset((
    "password", "passwords", "passwd", "passphrase", "secret", "secrets", "token",
    "credential", "credentials", "authorization", "cookie", "cookies", "apikey", "authtoken",
    "accesstoken", "privatekey", "secretkey", "accesskey", "pgpassword",
))  # fmt: skip
_SECRET_PAIRS = frozenset((
    ("api", "key"), ("private", "key"), ("access", "key"), ("secret", "key"), ("signing", "key"),
    ("encryption", "key"), ("auth", "key"), ("client", "key"), ("mysql", "pwd"),
))  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_NAME = r"(?P<name>[A-Za-z0-9_.-]{1,80})"
_ASSIGNMENT = re.compile(
    rf"""(?<![A-Za-z0-9_.-]){_NAME}(?P<between>["']?[ ]?[=:][ ]?["']?)(?P<value>[^\s"']+)"""
)
_OPTION = re.compile(r"(?<!\S)(?P<name>--[A-Za-z0-9_.-]{1,80})(?P<between>\s+)(?P<value>[^\s-]\S*)")
_HEADER = re.compile(
    r"(?i)(?<![A-Za-z0-9-])(?P<name>(?:proxy-)?authorization|(?:set-)?cookie)"
    r"(?P<between>\s?:\s?)(?P<value>[^\r\n\"']+)"
)
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\sA-Za-z0-9+/=:,\\-]*"
    r"|(?<=://)[^\s/:@]{0,200}:[^\s/@]{1,200}(?=@)"
    r"|(?i:\bbearer\s)[A-Za-z0-9._~+/=-]{16,}"
    r"|\b(?:"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"
    r"|sk-[A-Za-z0-9_-]{16,}|[rsp]k_(?:live|test)_[A-Za-z0-9]{10,}"
    r"|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{10,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r")"
)
"""Shapes that issuers document for their keys and tokens."""


def redacted(body: JsonObject) -> dict[str, JsonValue]:
    """Return a copy of a record's body without secrets."""
    return _mapping(body)


def is_secret_name(name: str) -> bool:
    """Say whether a variable, header, option or key is named like a secret.

    Words count, not substrings: `author` and `monkey` are harmless, `apiKey` and `DB_PASSWORD`
    are not.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if _SECRET_WORDS.intersection(words):
        return True
    return any(pair in _SECRET_PAIRS for pair in pairwise(words))


def redacted_text(text: str) -> str:
    """Return text without the secrets that it names or that have a known shape."""
    text = _SHAPES.sub(REDACTED, text)
    text = _HEADER.sub(_without_value, text)
    text = _ASSIGNMENT.sub(_without_value, text)
    return _OPTION.sub(_without_value, text)


def _without_value(match: re.Match[str]) -> str:
    name, between = match["name"], match["between"]
    return f"{name}{between}{REDACTED}" if is_secret_name(name) else match[0]


def _value(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, Mapping):
        return _mapping(cast("JsonObject", value))
    if isinstance(value, Sequence):
        return _list(value)
    return value


def _mapping(fields: JsonObject) -> dict[str, JsonValue]:
    clean: dict[str, JsonValue] = {
        name: _hidden(value) if is_secret_name(name) else _value(value)
        for name, value in fields.items()
    }
    named = fields.get("name", fields.get("key"))
    if "value" in fields and isinstance(named, str) and is_secret_name(named):
        clean["value"] = _hidden(fields["value"])
    return clean


def _list(values: Sequence[JsonValue]) -> list[JsonValue]:
    """Redact a list; in an argument vector, the word after `--password` is one's value."""
    clean: list[JsonValue] = []
    follows_secret = False
    for value in values:
        is_option = isinstance(value, str) and value.startswith("-")
        clean.append(_hidden(value) if follows_secret and not is_option else _value(value))
        follows_secret = isinstance(value, str) and "=" not in value and _names_a_secret(value)
    return clean


def _names_a_secret(word: str) -> bool:
    """Say whether a list's word is an option or a header's name whose value comes next."""
    return (word.startswith("-") or word[:1].isupper()) and len(word) < 80 and is_secret_name(word)


def _hidden(value: JsonValue) -> JsonValue:
    """Leave out every text below a secret's name; numbers (token counts) and flags stay."""
    if isinstance(value, str):
        return REDACTED
    if isinstance(value, Mapping):
        fields = cast("JsonObject", value)
        return {name: _hidden(below) for name, below in fields.items()}
    if isinstance(value, Sequence):
        return [_hidden(below) for below in value]
    return value
