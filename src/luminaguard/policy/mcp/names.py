"""Reading the name of a tool: which of its words are verbs, and what they do.

A name is read in more than one way (with and without its capitals as word starts, run-together
words taken apart), and the strictest reading counts: a name that hides a verb is not a read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from itertools import pairwise

from luminaguard.errors import PolicyError
from luminaguard.policy.mcp.evidence import (
    ADDRESS,
    SECRET,
    UNREADABLE,
    Evidence,
    of_word,
)
from luminaguard.policy.mcp.lexicon import (
    READ_BY_OBJECT,
    UNKNOWN,
    Class,
    Form,
    Kind,
    Lexicon,
    Word,
    lexicon,
)

MAX_NAME_CHARS = 128
"""Source: MCP specification, tools: names are 1 to 128 characters of `[A-Za-z0-9_.-]`."""

_READABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/ -]*\Z")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ALIKE = re.compile(r"[a-z]+|[0-9]+")
_CONJUNCTIONS = frozenset(("and", "or", "then", "plus", "n"))
_HANDS_OUT = frozenset(("fetch", "get", "read", "list", "view", "retrieve", "show", "create"))
_TOKENS = frozenset(("token", "tokens"))
_ADDRESS = frozenset(("url", "urls", "uri"))
_NAMES_ONE = frozenset(("get", "list", "show", "lookup"))
_NOUN_ENDINGS = (
    "ment",
    "ments",
    "er",
    "ers",
    "or",
    "ors",
    "let",
    "lets",
    "place",
    "places",
    "ance",
)
_VERB_ENDINGS = ("ate", "ates", "ize", "izes", "ise", "ises", "ify", "ifies", "en", "ens")
_MIN_PIECE = 3
_MAX_PIECES = 6
_MIN_HIDDEN = 4
"""Letters of a verb that is looked for at the start of a run-together word."""


class Reading(StrEnum):
    """How much a name says that its tool only reads."""

    STRONG = "strong"
    """A verb of reading, and nothing that writes."""
    WEAK = "weak"
    """No verb at all, but the name of something one looks at."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameEvidence:
    """What a name says."""

    against: tuple[Evidence, ...]
    reading: Reading
    is_open: bool = False
    """Some words are unknown and none hides a verb that writes: the server's word may do."""
    is_of_information: bool = False
    """It ends with what can only be looked at ("status"), and no word sounds like a new verb."""


def judge_name(name: str) -> NameEvidence:
    """Return what speaks against a name, and whether it is the name of a read.

    Raises:
        PolicyError: the words do not even read their own examples as they should.
    """
    check_examples(lexicon().examples)
    return _judged(name)


def check_examples(examples: Mapping[str, Sequence[str]]) -> None:
    """Raise unless every example is read as what it is listed under: each kind once, then cached.

    Raises:
        PolicyError: one is not; the message names it.
    """
    for kind, names in examples.items():
        if wrong := _misread(kind, tuple(names)):
            raise PolicyError(
                f"the words that MCP tools are judged by take {wrong!r} for something else than "
                f"their example of {kind}",
                hint="reinstall luminaguard",
            )


@cache
def _misread(kind: str, names: tuple[str, ...]) -> str | None:
    wanted = {"reads": Reading.STRONG, "things": Reading.WEAK, "writes": Reading.NONE}[kind]
    return next((name for name in names if _judged(name).reading is not wanted), None)


@lru_cache(maxsize=4096)
def _judged(name: str) -> NameEvidence:
    if len(name) > MAX_NAME_CHARS or not _READABLE.match(name):
        why = "the tool's name is not of plain letters, digits, '_', '-' and '.'"
        return NameEvidence(
            against=(Evidence(means=UNREADABLE, deciding=name, why=why),), reading=Reading.NONE
        )
    readings = _ways_to_read(name)
    against = [found for tokens in readings for found in _against(tokens)]
    separate = [tokens for tokens in readings if not _is_run_together(tokens, readings[0])]
    reading = max((_reading(tokens) for tokens in readings), key=_ORDER.index)
    return NameEvidence(
        against=tuple(dict.fromkeys(against)),
        reading=Reading.NONE if against else reading,
        is_open=not against and all(_is_open(tokens) for tokens in separate),
        is_of_information=not against and all(_is_of_information(tokens) for tokens in separate),
    )


_ORDER = (Reading.NONE, Reading.WEAK, Reading.STRONG)


def words_of(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a name, of an argument's or of an operation's."""
    return tuple(token.lower() for token in _CAMEL.findall(name[:MAX_NAME_CHARS]))


def writes_in(name: str) -> Evidence | None:
    """Return the first word of a name or value that always writes: for titles and operations."""
    tokens = words_of(name)
    for token, word in zip(tokens, _classes(tokens, lexicon()), strict=True):
        if word.kind is Kind.WRITE and word.form in {Form.BASE, Form.S, Form.ING}:
            return of_word(word, token)
    return None


def _ways_to_read(name: str) -> list[list[str]]:
    known = lexicon()
    camel = [piece for token in _CAMEL.findall(name) for piece in _apart(token.lower(), known)]
    lowered = [
        piece
        for part in _SEPARATORS.split(name.lower())
        for token in _ALIKE.findall(part)
        for piece in _apart(token, known)
    ]
    return [camel] if camel == lowered else [camel, lowered]


def _apart(token: str, known: Lexicon) -> list[str]:
    """Take a run-together token apart if it can be covered by known words; else leave it."""
    if len(token) < 2 * _MIN_PIECE or _is_known(token, known):
        return [token]
    return _pieces(token, known, _MAX_PIECES) or [token]


def _pieces(token: str, known: Lexicon, at_most: int) -> list[str]:
    if _is_known(token, known):
        return [] if token in _CONJUNCTIONS else [token]  # "editor" is not "edit or"
    if at_most == 1:
        return []
    for cut in range(len(token) - 2, 1, -1):
        head = token[:cut]
        if (cut >= _MIN_PIECE or head in _CONJUNCTIONS) and _is_known(head, known):
            rest = _pieces(token[cut:], known, at_most - 1)
            if rest:
                return [head, *rest]
    return []


def _is_known(token: str, known: Lexicon) -> bool:
    return (
        token in known.words
        or token in known.read_nouns
        or token in known.secret_names
        or token in known.addresses
        or token in _CONJUNCTIONS
    )


def _against(tokens: Sequence[str]) -> list[Evidence]:
    known = lexicon()
    found: list[Evidence] = [*_phrases(tokens, known), *_things(tokens, known)]
    words = _classes(tokens, known)
    for at, (token, word) in enumerate(zip(tokens, words, strict=True)):
        if _acts(at, tokens, words):
            found.append(of_word(word, token))
        elif word is UNKNOWN and _follows_conjunction(at, tokens) and not _is_noun(token, known):
            why = f"{token!r} is what it also does, and that is not known"
            found.append(Evidence(means=UNREADABLE, deciding=token, why=why))
    return found


def _classes(tokens: Sequence[str], known: Lexicon) -> list[Word]:
    """Return what each word is; `run` in `run_search` is a read, by its object."""
    return [
        READ_BY_OBJECT
        if token in known.harmless and known.harmless[token].intersection(tokens[at + 1 : at + 3])
        else known.words.get(token, UNKNOWN)
        for at, token in enumerate(tokens)
    ]


def _is_open(tokens: Sequence[str]) -> bool:
    """One unknown word alone may be a verb; one that begins with a verb that writes hides it."""
    known = lexicon()
    return len(tokens) > 1 and not any(
        known.words.get(token[:length], UNKNOWN).kind is Kind.WRITE
        for token in tokens
        if not _is_known(token, known)
        for length in range(_MIN_HIDDEN, len(token))
        if token[length:] not in _NOUN_ENDINGS  # "droplet", "marketplace"
    )


def _is_run_together(tokens: Sequence[str], camel: Sequence[str]) -> bool:
    """`npmversions` says no more than `npm versions` does; `frobnicate` with any capitals does."""
    one_word = len(tokens) == 1 < len(camel) and _is_open(["", *tokens])
    return one_word and all(len(token) >= _MIN_PIECE for token in camel)


def _is_of_information(tokens: Sequence[str]) -> bool:
    """`vim_status`, `supported_languages`: nothing that could be a verb, then what is looked at."""
    known = lexicon()
    last = tokens[-1]
    is_plural = last.endswith("s") and known.words.get(last, UNKNOWN).kind is Kind.NOUN
    unsure = [token for token in tokens if not _is_known(token, known)]
    return (
        (last in known.information or is_plural)
        and _is_open(tokens)
        and not any(token.endswith(_VERB_ENDINGS) for token in unsure)
    )


def _acts(at: int, tokens: Sequence[str], words: Sequence[Word]) -> bool:
    """Say whether the word at a position is a verb that writes."""
    word = words[at]
    if word.means is None or word.form is Form.ED:
        return False
    joined = _follows_conjunction(at, tokens)
    reads_before = any(before.kind is Kind.READ for before in words[:at])
    if word.kind is Kind.WRITE:
        return word.form is not Form.S or joined or not reads_before
    if reads_before:
        return joined and word.form is not Form.S
    if _is_plural_at_end(at, tokens, words) and not joined:
        return False
    if word.kind is Kind.EITHER and not joined and _ends_with_read(at, tokens, words):
        return False
    return tokens[-1] != tokens[at] or tokens[at] not in lexicon().read_nouns


def _is_plural_at_end(at: int, tokens: Sequence[str], words: Sequence[Word]) -> bool:
    """`reddit_hot_threads`: many of something, with no other word before that could act."""
    return (
        0 < at == len(tokens) - 1
        and words[at].kind is Kind.EITHER
        and words[at].form is Form.S
        and all(before.means is None for before in words[:at])
    )


def _ends_with_read(at: int, tokens: Sequence[str], words: Sequence[Word]) -> bool:
    """`pull_request_read`: what stands before a trailing verb of reading are nouns."""
    later = range(at + 1, len(words))
    ends = [place for place in later if words[place].kind is Kind.READ]
    if not ends or any(token in _CONJUNCTIONS for token in tokens[at : ends[0]]):
        return False
    return tokens[ends[0]] != "read" or tokens[ends[0] - 1] not in {"as", "all"}


def _follows_conjunction(at: int, tokens: Sequence[str]) -> bool:
    return at > 0 and tokens[at - 1] in _CONJUNCTIONS


def _is_noun(token: str, known: Lexicon) -> bool:
    return token in known.read_nouns or token in known.addresses or token.endswith(("s", "ion"))


def _phrases(tokens: Sequence[str], known: Lexicon) -> list[Evidence]:
    pairs = list(pairwise(tokens))
    return [
        Evidence(means=known.write_phrases[pair], deciding=" ".join(pair), why="")
        for pair in pairs
        if pair in known.write_phrases
    ] + [
        Evidence(means=SECRET, deciding=" ".join(pair), why="")
        for pair in pairs
        if pair in known.secret_phrases
    ]


def _things(tokens: Sequence[str], known: Lexicon) -> list[Evidence]:
    """Return what the name says it gives away, and where it says it goes."""
    found = [_named(SECRET, token) for token in tokens if token in known.secret_names]
    if not _asks_for_address(tokens):
        found += [_named(ADDRESS, token) for token in tokens if token in known.addresses]
    if tokens and tokens[-1] in _TOKENS and _HANDS_OUT.intersection(tokens):
        found.append(_named(SECRET, tokens[-1]))
    if "fetch" in tokens:
        found += [
            _named(ADDRESS, token) for token in tokens if token in known.addresses_after_fetch
        ]
    return found


def _asks_for_address(tokens: Sequence[str]) -> bool:
    """`get_remote_url` hands out an address; `get_url` goes to one."""
    return len(tokens) > 2 and tokens[-1] in _ADDRESS and tokens[-3] in _NAMES_ONE


def _named(means: Class, token: str) -> Evidence:
    return Evidence(means=means, deciding=token, why="")


def _reading(tokens: Sequence[str]) -> Reading:
    known = lexicon()
    if any(word.kind is Kind.READ for word in _classes(tokens, known)):
        return Reading.STRONG
    last = tokens[-1] if tokens else ""
    is_plural = last.endswith("s") and known.words.get(last, UNKNOWN).kind is Kind.NOUN
    return Reading.WEAK if is_plural or known.read_nouns.intersection(tokens) else Reading.NONE
