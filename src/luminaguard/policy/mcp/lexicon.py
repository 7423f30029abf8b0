"""The words that tools of MCP servers are judged by: data, read once from `words.toml`."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from luminaguard.domain.verdict import Risk
from luminaguard.errors import PolicyError

_PREFIXED = ("re", "un", "auto")
"""Put before a verb, they make another that nobody listed: "rebook"."""
_MIN_PREFIXED = 4
_VOWELS = "aeiou"


class Kind(StrEnum):
    """What a word can be."""

    READ = "read"
    WRITE = "write"
    EITHER = "either"
    """A noun or a verb that writes."""
    VERBISH = "verbish"
    """A verb that writes, and a noun only right after a verb of reading."""
    NOUN = "noun"
    UNKNOWN = "unknown"


class Form(StrEnum):
    """How a verb stands there."""

    BASE = "base"
    S = "s"
    ING = "ing"
    ED = "ed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """What is known of one kind of writing: as it stands in the findings."""

    rule: str
    risk: Risk
    changes: str = ""
    reaches: str = ""
    secrets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One spelling of one word."""

    base: str
    kind: Kind
    form: Form = Form.BASE
    means: Class | None = None
    """Which kind of writing; None for what does not write."""


UNKNOWN = Word(base="", kind=Kind.UNKNOWN)
READ_BY_OBJECT = Word(base="", kind=Kind.READ)
"""A verb that could do anything, with an object that makes it a read: "run a search"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """All words and patterns, ready to look up."""

    words: Mapping[str, Word]
    """As they are in names."""
    in_prose: Mapping[str, Word]
    """As they are in sentences: more verbs of reading."""
    harmless: Mapping[str, frozenset[str]]
    """Verbs that could do anything → the objects with which they are reads."""
    write_phrases: Mapping[tuple[str, str], Class]
    read_nouns: frozenset[str]
    information: frozenset[str]
    """Those of them, and more, that can only be looked at when a name ends with them."""
    addresses: frozenset[str]
    addresses_after_fetch: frozenset[str]
    address_prose: re.Pattern[str]
    secret_names: frozenset[str]
    secret_phrases: frozenset[tuple[str, str]]
    secret_prose: re.Pattern[str]
    run_prose: re.Pattern[str]
    connect_prose: re.Pattern[str]
    any_query: frozenset[str]
    """Words of names of tools that take any query."""
    any_query_prose: re.Pattern[str]
    any_query_fields: frozenset[str]
    pleads: re.Pattern[str]
    claims: re.Pattern[str]
    private: frozenset[str]
    passive: frozenset[str]
    fillers: frozenset[str]
    instructs: frozenset[str]
    objects: frozenset[str]
    after_noun: frozenset[str]
    """What follows the noun that a description begins with: "attendees of"."""
    overviews: frozenset[str]
    """Verbs of reading that are nouns in "fuzzy search over"."""
    fields: Mapping[str, Class]
    """Names of arguments that mean an effect where they are given or required."""
    sends: Class
    sent: frozenset[str]
    """Names of arguments that mean a message beside `to`."""
    captured: Class
    captures: frozenset[str]
    """Names of arguments that mean a file to write, for tools that take a picture and the like."""
    capturing: frozenset[str]
    operations: frozenset[str]
    cursors: frozenset[str]
    mongo_writes: frozenset[str]
    sql_fields: frozenset[str]
    sql_reads: frozenset[str]
    sql_never: frozenset[str]
    sql_functions: frozenset[str]
    examples: Mapping[str, tuple[str, ...]]
    """Names that must be taken for `reads`, for `things` that are read, and for `writes`."""


@cache
def lexicon() -> Lexicon:
    """Return the words of this version, read from the package once.

    Raises:
        PolicyError: they cannot be read: nothing of an MCP server can be judged.
    """
    try:
        text = (
            files(__package__ or "luminaguard.policy.mcp").joinpath("words.toml").read_text("utf-8")
        )
        return _built(tomllib.loads(text))
    except (OSError, ValueError, KeyError, TypeError, re.error) as problem:
        raise PolicyError(
            f"the words that MCP tools are judged by cannot be read: {problem}",
            hint="reinstall luminaguard",
        ) from problem


def _built(table: Mapping[str, Any]) -> Lexicon:
    irregular = {base: forms.split() for base, forms in table["irregular"].items()}
    verbish = frozenset(table["either"]["verbish"].split())
    either = frozenset(table["either"]["words"].split()) | verbish
    nouns = frozenset(table["nouns"]["plain"].split())
    words: dict[str, Word] = {noun: Word(base=noun, kind=Kind.NOUN) for noun in nouns}
    phrases: dict[tuple[str, str], Class] = {}
    for group in table["writes"]:
        means = _class(group)
        phrases |= dict.fromkeys(_pairs(group.get("phrases", "")), means)
        for base in group["words"].split():
            words |= _forms(base, _kind(base, either, verbish), means, irregular, words)
    rest = Class(rule="mcp-changes", risk=Risk.HIGH, changes="data of {server}")
    for base in sorted(either):
        if base not in words or words[base].kind is Kind.NOUN:
            words |= _forms(base, _kind(base, either, verbish), rest, irregular, {})
    reads = frozenset(table["reads"]["words"].split())
    words = _prefixed(words, reads | nouns | frozenset(table["nouns"]["read"].split())) | words
    fixed = {
        base: Word(base=base, kind=Kind.READ) for base in table["fixed_reads"]["words"].split()
    }
    only_in_prose = frozenset(table["reads"]["only_in_prose"].split())
    return Lexicon(
        words=words | _reads(reads - only_in_prose, irregular) | fixed,
        in_prose=words | _reads(reads, irregular),
        harmless=_harmless(table["harmless"]),
        write_phrases=phrases,
        read_nouns=frozenset(table["nouns"]["read"].split()),
        information=frozenset(table["nouns"]["information"].split()),
        addresses=frozenset(table["addresses"]["words"].split()),
        addresses_after_fetch=frozenset(table["addresses"]["only_after_fetch"].split()),
        address_prose=_any_of(table["addresses"]["prose"]),
        secret_names=frozenset(table["secrets"]["names"].split()),
        secret_phrases=frozenset(_pairs(table["secrets"]["phrases"])),
        secret_prose=_any_of(table["secrets"]["prose"]),
        run_prose=_any_of(table["effects"]["runs"]),
        connect_prose=_any_of(table["effects"]["connects"]),
        any_query=frozenset(table["any_query"]["names"].split()),
        any_query_prose=_any_of(table["any_query"]["prose"]),
        any_query_fields=frozenset(table["any_query"]["arguments"].split()),
        pleads=_any_of(table["pleads"]["prose"]),
        claims=_any_of(table["pleads"]["claims"]),
        private=frozenset(table["private"]["words"].split()),
        passive=frozenset(table["passive"]["words"].split()),
        fillers=frozenset(table["fillers"]["words"].split()),
        instructs=frozenset(table["fillers"]["instructs"].split()),
        objects=frozenset(table["fillers"]["objects"].split()),
        after_noun=frozenset(table["fillers"]["after_noun"].split()),
        overviews=frozenset(table["fillers"]["overviews"].split()),
        **_fields(table["fields"]),
        sql_reads=frozenset(table["sql"]["reads"].split()),
        sql_never=frozenset(table["sql"]["never"].split()),
        sql_functions=frozenset(table["sql"]["functions"].split()),
        examples={kind: tuple(names.split()) for kind, names in table["examples"].items()},
    )


def _prefixed(words: Mapping[str, Word], taken: frozenset[str]) -> dict[str, Word]:
    """Return verbs that write with what may stand before them, unless that is a word of its own."""
    return {
        prefix + spelling: Word(
            base=prefix + word.base, kind=Kind.WRITE, form=word.form, means=word.means
        )
        for prefix in _PREFIXED
        for spelling, word in words.items()
        if word.means is not None
        and word.form in {Form.BASE, Form.S}
        and len(word.base) >= _MIN_PREFIXED
        and prefix + word.base not in taken
        and prefix + spelling not in taken
    }


def _fields(table: Mapping[str, str]) -> dict[str, Any]:
    names = {key: frozenset(text.split()) for key, text in table.items()}
    sends = Class(rule="mcp-sends", risk=Risk.HIGH, changes="what others see")
    file = Class(rule="mcp-writes-file", risk=Risk.HIGH, changes="files")
    classes = {
        "runs": Class(rule="mcp-runs", risk=Risk.CRITICAL, changes="anything that code can change"),
        "sends": sends,
        "changes": Class(rule="mcp-changes", risk=Risk.HIGH, changes="data of {server}"),
        "addresses": Class(rule="mcp-any-address", risk=Risk.HIGH, reaches="any address"),
        "files": file,
    }
    return {
        "fields": {name: means for key, means in classes.items() for name in sorted(names[key])},
        "sends": sends,
        "sent": names["sends_with_to"],
        "captured": file,
        "captures": names["captures"],
        "capturing": names["capturing"],
        "operations": names["operations"],
        "cursors": names["cursors"],
        "mongo_writes": names["mongo"],
        "sql_fields": names["sql"],
    }


def _kind(base: str, either: frozenset[str], verbish: frozenset[str]) -> Kind:
    if base in verbish:
        return Kind.VERBISH
    return Kind.EITHER if base in either else Kind.WRITE


def _class(group: Mapping[str, Any]) -> Class:
    return Class(
        rule=group["rule"],
        risk=Risk(group["risk"]),
        changes=group.get("changes", ""),
        reaches=group.get("reaches", ""),
    )


def _reads(bases: Iterable[str], irregular: Mapping[str, list[str]]) -> dict[str, Word]:
    found: dict[str, Word] = {}
    for base in sorted(bases):
        found |= _forms(base, Kind.READ, None, irregular, {})
    return found


def _forms(
    base: str,
    kind: Kind,
    means: Class | None,
    irregular: Mapping[str, list[str]],
    taken: Mapping[str, Word],
) -> dict[str, Word]:
    """Return all spellings of a verb; the first class that names a spelling keeps it."""
    found = {base: Word(base=base, kind=kind, means=means)}
    for form, spelling in _inflected(base):
        found.setdefault(spelling, Word(base=base, kind=kind, form=form, means=means))
    for spelling in irregular.get(base, ()):
        if spelling == base:
            continue  # "reset" is its own past, and a command first
        form = Form.ING if spelling.endswith("ing") else Form.ED
        found[spelling] = Word(base=base, kind=kind, form=form, means=means)
    return {
        spelling: word
        for spelling, word in found.items()
        if spelling not in taken or (taken[spelling].kind is Kind.NOUN and spelling == base)
    }


def _inflected(base: str) -> Iterator[tuple[Form, str]]:
    sibilant = base.endswith(("s", "x", "z", "ch", "sh", "o"))
    y_after_consonant = base.endswith("y") and base[-2:-1] not in _VOWELS
    stem = base[:-1] if base.endswith("e") and not base.endswith("ee") else base
    yield Form.S, base[:-1] + "ies" if y_after_consonant else base + ("es" if sibilant else "s")
    yield Form.ING, stem + "ing"
    yield Form.ED, base[:-1] + "ied" if y_after_consonant else stem + "ed"


def _harmless(groups: Iterable[Mapping[str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for group in groups:
        objects = frozenset(group["objects"].split())
        for verb in _spellings(group["verbs"].split()):
            found[verb] = found.get(verb, frozenset()) | objects
    return found


def _spellings(bases: Iterable[str]) -> Iterator[str]:
    for base in bases:
        yield base
        yield from (spelling for _, spelling in _inflected(base))


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = [tuple(pair.split()) for pair in text.split(";") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("a phrase is not two words")
    return [(pair[0], pair[1]) for pair in pairs]


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns))
