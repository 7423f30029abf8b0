"""Reading the description of a tool: what it says that the tool does.

A description can only speak against its tool. That it says "reads" is needed where the server
gives no hint, and is never enough.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

from luminaguard.domain.visible import visible
from luminaguard.policy.findings import shown
from luminaguard.policy.mcp.evidence import (
    ADDRESS,
    CODE,
    PLEADS,
    SECRET,
    UNREADABLE,
    Evidence,
    of_word,
    usual_reason,
)
from luminaguard.policy.mcp.lexicon import (
    READ_BY_OBJECT,
    UNKNOWN,
    Form,
    Kind,
    Lexicon,
    Word,
    lexicon,
)

MAX_DESCRIPTION_CHARS = 16_384
"""Longer ones are not read, so nothing is proven by them. Real ones are below 8,000."""

_SENTENCES = re.compile(r"[.!?]+(?=\s|$)|[\n\r|•;:]| [-–—*] ")  # noqa: RUF001
_CODE = re.compile(r"`[^`]*`|\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|(?<!\S)\S*_\S*")
_BRACKETS = re.compile(r"[()\[\]{}]")
_WORDS = re.compile(r"[a-z]+(?:['’][a-z]+)?|[,/&+]")  # noqa: RUF001
_JOINS = frozenset((",", "/", "&", "+", "and", "or", "then", "plus"))
_SUBJECTS = frozenset(
    ("it", "this", "tool", "which", "that", "also", "then", "automatically", "and")
)
_MODALS = frozenset(("will", "can", "may", "also", "automatically", "shall", "could"))
_CALLERS = frozenset(
    ("you", "user", "users", "agent", "client", "clients", "they", "who", "people")
)
_BE = frozenset(("is", "are", "gets", "get", "be", "being"))
_NOT = frozenset(
    ("not", "never", "without", "no", "cannot", "doesn't", "don't", "won't", "can't", "nothing")
)
_RELATIVE = frozenset(
    (
        "that",
        "which",
        "who",
        "if",
        "when",
        "whether",
        "once",
        "after",
        "unless",
        "until",
        "where",
        "what",
        "how",
    )
)
_MIXED_SCRIPT = re.compile(
    r"[A-Za-z][\u0370-\u058f\u13a0-\u13ff]|[\u0370-\u058f\u13a0-\u13ff][A-Za-z]"
)
_ASKS_HOW = frozenset(("how", "whether", "what"))
_PLACES = frozenset(
    ("to", "into", "onto", "disk", "local", "locally", "folder", "directory", "path", "file")
)
"""A download that names none of these hands over what it read."""
_AFTER_NOUNS = frozenset(
    ("of", "for", "in", "from", "with", "on", "about", "by", "at", "since", "", ",", "and", "or")
)
_DETERMINERS = frozenset(("the", "a", "an"))
_QUESTIONS = frozenset(("what", "who", "how", "where", "which"))
_ONLY_NOUNS = frozenset(("of", "that", "which", "whose"))
_NOUN_WORDS = 6
"""Words of a phrase in which what follows its noun is looked for."""
_DEED_ENDINGS = ("ion", "ment", "al", "ing", "ance", "sure", "er", "or")
_VERB_ENDINGS = ("ate", "ize", "ise", "ify")
_SEEN = frozenset(("read", "seen", "viewed"))
_LOOKED_AT = 24
"""Words of a sentence in which coordinated verbs are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseEvidence:
    """What a description says."""

    against: tuple[Evidence, ...]
    leads_with_read: bool
    """The first sentence with a verb begins with one of reading."""
    leads_with_noun: bool
    """It begins as a phrase about a thing does ("Attendees of an event"), or with "What is"."""
    is_claiming: bool
    """It says of itself that it only reads."""


@lru_cache(maxsize=1024)
def judge_prose(text: str) -> ProseEvidence:
    """Return what a description says against its tool, and whether it begins as a read's does."""
    if unreadable := _unreadable(text):
        return ProseEvidence(
            against=(unreadable,), leads_with_read=False, leads_with_noun=False, is_claiming=False
        )
    known = lexicon()
    plain = normalize("NFKC", text).lower()
    found = list(_by_pattern(plain, known))
    sentences = [words for words in _sentences(plain) if words]
    leads = [_lead(words, known) for words in sentences]
    pairs = list(zip(sentences, leads, strict=True))
    for words, lead in pairs:
        found.extend(_acts_in(words, lead, known))
    first = next(
        (_class(words, at, known) for words, at in pairs if at is not None and len(words) > 1),
        UNKNOWN,  # one word alone is a heading
    )
    return ProseEvidence(
        against=tuple(dict.fromkeys(found)),
        leads_with_read=first.kind is Kind.READ or _is_overview(pairs, known),
        leads_with_noun=_begins_with_thing(sentences, known),
        is_claiming=known.claims.search(plain) is not None,
    )


def _is_overview(pairs: Sequence[tuple[list[str], int | None]], known: Lexicon) -> bool:
    """`Precise code search across ...`: what a verb of reading names, not an order to do it."""
    if not pairs or pairs[0][1] is None:
        return False
    words, start = pairs[0][0], pairs[0][1]
    for at in range(start, min(start + 3, len(words) - 1)):
        if words[at] in known.overviews:
            return words[at + 1] in known.after_noun
        if not _is_plain(words[at], known):
            return False
    return False


def _begins_with_thing(sentences: Sequence[Sequence[str]], known: Lexicon) -> bool:
    """Say whether the first sentence is a noun with more about it, or a question's words."""
    if not sentences or len(sentences[0]) < 3:
        return False
    words = [word for at, word in enumerate(sentences[0]) if at or word not in _DETERMINERS]
    if words[0] in _QUESTIONS:
        return words[1] != "to"
    ends = [at for at in range(1, min(_NOUN_WORDS, len(words))) if words[at] in known.after_noun]
    if not ends:
        return False
    end = ends[0]
    if end == 1:  # "honks at" could be a verb; "attendees of" and "sites at which" could not
        is_linked = words[1] in _ONLY_NOUNS or words[2:3] == ["which"]
        is_many = known.in_prose.get(words[0], UNKNOWN).form is Form.S
        return is_linked and (is_many or _is_thing(words, 0, known))
    is_base_or_many = words[0].endswith("s") and not words[0].endswith("ss")
    return not is_base_or_many and all(_is_thing(words, at, known) for at in range(end))


def _is_thing(words: Sequence[str], at: int, known: Lexicon) -> bool:
    word = known.in_prose.get(words[at], UNKNOWN)
    if words[at].endswith(_DEED_ENDINGS) and words[at] not in known.information:
        return False  # "deletion of an account"
    is_noun = at > 0 and word.kind is Kind.EITHER and word.form is Form.S
    return is_noun or (_is_plain(words[at], known) and not words[at].endswith(_VERB_ENDINGS))


def _is_plain(word: str, known: Lexicon) -> bool:
    """Say whether a word is no known verb, and nothing that stands right behind one."""
    kind = known.in_prose.get(word, UNKNOWN).kind
    return kind in {Kind.UNKNOWN, Kind.NOUN} and (word not in known.objects and word not in _JOINS)


def _unreadable(text: str) -> Evidence | None:
    if len(text) > MAX_DESCRIPTION_CHARS:
        why = f"the description is {len(text)} characters long: more than can be judged"
    elif is_hiding(text):
        why = "the description holds characters that are invisible or change how text is read"
    elif not text.isascii() and _MIXED_SCRIPT.search(text):
        why = "the description mixes look-alike letters into its words"
    else:
        return None
    return Evidence(means=UNREADABLE, deciding="description", why=why)


def is_hiding(text: str) -> bool:
    """Say whether text holds characters that are invisible or change how it is read."""
    if text.isascii() and text.isprintable():
        return False
    lines = text.replace("\r\n", "\n")
    return visible(lines, keep_newlines=True, tab="\t") != lines


def _by_pattern(plain: str, known: Lexicon) -> Iterator[Evidence]:
    """Yield what fixed turns of phrase say, wherever they stand."""
    for pattern, means, why in (
        (known.pleads, PLEADS, "is about how the tool should be treated, which is not its to say"),
        (known.address_prose, ADDRESS, "means any address, and can carry data there"),
        (known.secret_prose, SECRET, "means that secrets are given away"),
        (known.run_prose, CODE, "means that it runs what it is given, or writes"),
        (known.connect_prose, ADDRESS, "means that it connects to others"),
    ):
        if match := pattern.search(plain):
            token = match.group().strip()
            yield Evidence(
                means=means, deciding=token, why=f"{shown(token)} in its description {why}"
            )


def _sentences(plain: str) -> Iterator[list[str]]:
    """Yield the words of each sentence, without code and quotations; commas are words."""
    for sentence in _SENTENCES.split(_CODE.sub(" x ", plain)):
        yield _WORDS.findall(_BRACKETS.sub(" , ", sentence))


def _lead(words: Sequence[str], known: Lexicon) -> int | None:
    """Return where the verb stands that says what the tool does; None in an instruction."""
    at = 0
    if words[0] == "use" and len(words) > 1 and words[1] in {"this", "it"}:
        at = 1
    elif words[0] in known.instructs:
        return _after_condition(words, known)
    while at < len(words) and _is_filler(words[at], known):
        at += 1
    if at + 1 < len(words) and _is_doubled(words, at, known):
        at += 1
    return at if at < len(words) else None


def _is_doubled(words: Sequence[str], at: int, known: Lexicon) -> bool:
    """`Retrieves start playing ...`: a verb right behind one of reading is what is done."""
    led_by, word = (_class(words, place, known) for place in (at, at + 1))
    if led_by.kind is not Kind.READ or led_by.form is not Form.S:
        return False
    following = words[at + 2] if at + 2 < len(words) else ""
    if word.form is Form.S:
        is_sure = word.kind is Kind.WRITE and _has_object(words, at + 1, known)
        return is_sure or (word.kind is Kind.VERBISH and following in _DETERMINERS)
    is_led = _has_object(words, at + 1, known) or following in _JOINS
    is_led = is_led or known.in_prose.get(following, UNKNOWN).form is Form.ING
    if word.form is not Form.BASE or word.kind in {Kind.UNKNOWN, Kind.NOUN}:
        return False
    return is_led or word.kind is Kind.WRITE


def _after_condition(words: Sequence[str], known: Lexicon) -> int | None:
    """`When called, deletes ...`: an effect stands after the comma, as a third person."""
    if "," not in words:
        return None
    at = words.index(",") + 1
    while at < len(words) and _is_filler(words[at], known):
        at += 1
    is_act = at < len(words) and known.in_prose.get(words[at], UNKNOWN).form is Form.S
    return at if is_act else None


def _is_filler(word: str, known: Lexicon) -> bool:
    return word in known.fillers or word in _JOINS or (word.endswith("ly") and len(word) > 4)


def _class(words: Sequence[str], at: int, known: Lexicon) -> Word:
    """Return what a word is; "run" of "run a search" is a read, by its object."""
    word = words[at]
    if word in known.harmless and known.harmless[word].intersection(words[at + 1 : at + 5]):
        return READ_BY_OBJECT
    if word.startswith("download") and not _PLACES.intersection(words):
        return UNKNOWN
    return known.in_prose.get(word, UNKNOWN)


def _acts_in(words: Sequence[str], lead: int | None, known: Lexicon) -> Iterator[Evidence]:
    classes = [_class(words, at, known) for at in range(len(words))]
    if lead is not None:
        yield from _led(words, classes, lead, known)
    for at, word in enumerate(classes):
        if word.means is None or _is_negated(words, at):
            continue
        if _is_done_by_it(words, at, word) or _is_suffered(words, at, word, known):
            yield _said(word, words[at])


def _led(
    words: Sequence[str], classes: Sequence[Word], lead: int, known: Lexicon
) -> Iterator[Evidence]:
    """Yield the leading verb and those that are joined to it, if they write."""
    led_by = classes[lead]
    is_verb = _is_verb(words, lead, led_by, known)
    if led_by.means and led_by.form is not Form.ED and is_verb:
        yield _said(led_by, words[lead])
    for at in range(lead + 1, min(len(words), lead + _LOOKED_AT)):
        word = classes[at]
        if (
            word.means
            and word.form is led_by.form
            and _is_joined(words, at, known)
            and _is_verb(words, at, word, known)
            and (led_by.kind is Kind.READ or _has_object(words, at, known))
            and not _is_negated(words, at)
        ):
            yield _said(word, words[at])


def _is_named(words: Sequence[str], at: int, word: Word) -> bool:
    """`the issues that` is a noun, where `this issues` is a verb."""
    is_noun_possible = word.kind is not Kind.WRITE or word.form is not Form.S
    return at > 0 and words[at - 1] in _DETERMINERS and is_noun_possible


def _has_object(words: Sequence[str], at: int, known: Lexicon) -> bool:
    return at + 1 < len(words) and words[at + 1] in known.objects


def _is_joined(words: Sequence[str], at: int, known: Lexicon) -> bool:
    """Say whether `and`, a comma or the like stands before, with adverbs between at most."""
    before = at - 1
    while before > 0 and words[before] not in _JOINS and _is_filler(words[before], known):
        before -= 1
    return before >= 0 and words[before] in _JOINS


def _is_verb(words: Sequence[str], at: int, word: Word, known: Lexicon) -> bool:
    """Tell `comment on` from `comments of`: what is always a verb needs no object to follow."""
    if _is_named(words, at, word):
        return False
    if word.kind is Kind.WRITE and (word.form is not Form.S or at == 0):
        return True
    following = words[at + 1] if at + 1 < len(words) else ""
    if word.kind is Kind.WRITE:
        return following not in _AFTER_NOUNS
    if _has_object(words, at, known):
        return True
    if at and words[at - 1] in _JOINS:
        return word.kind is Kind.VERBISH and following not in _AFTER_NOUNS
    return word.kind is Kind.VERBISH and word.form is Form.BASE


def _is_done_by_it(words: Sequence[str], at: int, word: Word) -> bool:
    """`it also sends`, `which deletes`, `will create`; not `you can create`."""
    before = words[at - 1] if at else ""
    if word.kind is not Kind.WRITE:
        return False
    if word.form is Form.S:
        return before in _SUBJECTS - {"and"}
    if word.form is not Form.BASE or before not in _MODALS:
        return False
    if _ASKS_HOW.intersection(words[max(0, at - 6) : at]):
        return False
    return not _CALLERS.intersection(words[max(0, at - 4) : at])


def _is_suffered(words: Sequence[str], at: int, word: Word, known: Lexicon) -> bool:
    """`the mails are marked as read`; not `commits that are staged`, `if it is deleted`."""
    if word.form is not Form.ED or word.base not in known.passive:
        return False
    if word.base == "mark" and _SEEN.intersection(words[at + 1 : at + 3]):
        return False  # what was handed over counts as read: no more than a read does
    start = at - 1
    while start > 0 and (words[start] in _MODALS or words[start].endswith("ly")):
        start -= 1
    if start < 1 or words[start] not in _BE:
        return False
    return not _RELATIVE.intersection(words[max(0, start - 6) : start])


def _is_negated(words: Sequence[str], at: int) -> bool:
    return bool(_NOT.intersection(words[max(0, at - 4) : at]))


def _said(word: Word, token: str) -> Evidence:
    of = of_word(word, token)
    why = f"its description says {shown(token)}: it {usual_reason(of.means)}"
    return Evidence(means=of.means, deciding=token, why=why)
