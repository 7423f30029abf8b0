"""Holds the words of one command against what the table says of its program."""

import re
from dataclasses import dataclass, field

from luminaguard.policy.programs.program import Operands, Program, Reads, Value
from luminaguard.policy.programs.scripts import (
    harmless_awk,
    harmless_jq,
    harmless_sed,
    harmless_yq,
)
from luminaguard.policy.shell.words import Word, exact

_SCRIPTS = {
    Operands.SED: harmless_sed,
    Operands.AWK: harmless_awk,
    Operands.JQ: harmless_jq,
    Operands.YQ: harmless_yq,
}
_LITERAL = frozenset({Operands.LITERAL, Operands.TEST})
_KINDS = {
    "writes": "makes it write",
    "deletes": "makes it delete",
    "runs": "makes it run a program",
    "reaches": "makes it reach out",
    "lists": "makes it read names of files from a file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a command is no pure read; `token` decided."""

    token: str
    why: str
    kind: str = ""
    """`writes`, `runs`, `reaches`, `lists`, or nothing known."""


@dataclass(slots=True)
class Reading:
    """What a command reads, if it only reads."""

    contents: list[Word] = field(default_factory=list[Word])
    """Files that it shows."""
    names: list[Word] = field(default_factory=list[Word])
    """Paths of which it shows no more than names, kinds and sizes."""
    shown: list[Word] = field(default_factory=list[Word])
    """Words that it may print or otherwise give away."""
    trees: bool = False
    """The paths are read with all that lies below; none means the working directory."""


@dataclass(slots=True)
class _Split:
    operands: list[Word] = field(default_factory=list[Word])
    values: list[tuple[str, Value, Word]] = field(default_factory=list["tuple[str, Value, Word]"])
    names: list[str] = field(default_factory=list[str])
    dashes_at: int = 10_000
    """Number of operands before `--`."""


def reading_of(program: Program, words: list[Word]) -> Reading | Refused:
    """Return what a command reads; `words` are those after the program and its subcommands."""
    if program.operands is Operands.TEST and (unsure := _evaluates(words)):
        return unsure
    split = _split(program, words)
    if isinstance(split, Refused):
        return split
    if program.needs and not program.needs & set(split.names):
        return Refused(token=program.name, why="is not given an option with which it only reads")
    return _sorted(program, split)


def _evaluates(words: list[Word]) -> Refused | None:
    """Refuse `test -v`, which evaluates what stands in an index, and what could become it."""
    for word in words:
        if word.exact and word.text in {"-v", "-R"}:
            return Refused(token=word.text, why="evaluates the name of a variable", kind="runs")
    if words and not words[0].exact and (len(words) == 2 or words[0].splits):
        return Refused(token=words[0].text, why="may become an operator")
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leading:
    """The options before a wrapped command, or before a subcommand."""

    count: int
    """Words that they are."""
    names: tuple[str, ...]
    paths: tuple[Word, ...]
    """Values that name files which are read."""


def before_operand(program: Program, words: list[Word]) -> Leading | Refused:
    """Return the options before the first word that is none."""
    split = _Split()
    at = 0
    while at < len(words):
        word = words[at]
        if word.exact and word.text == "--":
            at += 1
            break
        if not _is_option(program, word) or isinstance(_unclear(program, word), Refused):
            break
        taken = _option(program, words, at, split)
        if isinstance(taken, Refused):
            return taken
        at += taken
    return Leading(count=at, names=tuple(split.names), paths=tuple(_path_values(split)))


def _path_values(split: _Split) -> list[Word]:
    return [word for _, value, word in split.values if value in {Value.PATH, Value.TWO_PATH}]


def _split(program: Program, words: list[Word]) -> _Split | Refused:
    split = _Split()
    at = 0
    if program.bundle and words and words[0].exact and words[0].text[:1] not in {"-", ""}:
        words = [exact("-" + words[0].text), *words[1:]]
    while at < len(words):
        word = words[at]
        if word.exact and word.text == "--" and not program.whole:
            split.dashes_at = len(split.operands)
            split.operands += words[at + 1 :]
            break
        if not _is_option(program, word):
            unclear = _unclear(program, word)
            if unclear is not None:
                return unclear
            split.operands.append(word)
            at += 1
            continue
        taken = _option(program, words, at, split)
        if isinstance(taken, Refused):
            return taken
        at += taken
    return split


def _is_option(program: Program, word: Word) -> bool:
    start = word.text if word.exact else word.head
    if program.operands in _LITERAL:
        return False
    if start.startswith("+"):
        return program.plus and not program.each
    return len(start) > 1 and start.startswith("-") and start != "-"


def _unclear(program: Program, word: Word) -> Refused | None:
    """Refuse a word that could turn into an option, where that could matter."""
    if program.inert or program.operands in _LITERAL:
        return None
    if word.may_be_option and word.globs:
        return Refused(token=word.text, why="may match a file that is named like an option")
    if word.may_be_option or word.splits:
        return Refused(token=word.text, why="may become an option")
    return None


def _option(program: Program, words: list[Word], at: int, split: _Split) -> int | Refused:
    """Read one option; return how many words it took."""
    word = words[at]
    start = word.text if word.exact else word.head
    if program.plus and start.startswith("+"):
        return 1
    if program.counts and start[1:].isdecimal() and word.exact:
        return 1
    if start.startswith("--") or program.whole:
        return _long(program, words, at, split)
    return _cluster(program, words, at, split)


def _long(program: Program, words: list[Word], at: int, split: _Split) -> int | Refused:
    word = words[at]
    start = word.text if word.exact else word.head
    name, equals, rest = start.partition("=")
    value = program.options.get(name)
    if value is None or (not word.exact and not equals):
        return _unknown(program, name, word)
    split.names.append(name)
    if equals:
        if value is Value.NONE or value in {Value.TWO, Value.TWO_PATH}:
            return _unknown(program, start, word)
        split.values.append((name, value, _rest_of(word, len(name) + 1, rest)))
        return 1
    return _with_value(program, words, at, split, name, value)


def _with_value(
    program: Program, words: list[Word], at: int, split: _Split, name: str, value: Value
) -> int | Refused:
    if value in {Value.NONE, Value.OPTIONAL}:
        return 1
    needed = 2 if value in {Value.TWO, Value.TWO_PATH} else 1
    if at + needed >= len(words):
        return Refused(token=name, why="lacks its value")
    given = words[at + needed]
    if any(word.splits for word in words[at + 1 : at + 1 + needed]) and not program.inert:
        return Refused(token=given.text, why="may become several words")
    split.values.append((name, value, given))
    return 1 + needed


def _cluster(program: Program, words: list[Word], at: int, split: _Split) -> int | Refused:
    word = words[at]
    start = word.text if word.exact else word.head
    for index in range(1, len(start)):
        name = f"-{start[index]}"
        value = program.options.get(name)
        if value is None:
            return _unknown(program, name, word)
        split.names.append(name)
        if value is Value.NONE:
            continue
        rest = start[index + 1 :]
        if rest or not word.exact or value is Value.OPTIONAL:
            if rest or not word.exact:
                split.values.append((name, value, _rest_of(word, index + 1, rest)))
            return 1
        return _with_value(program, words, at, split, name, value)
    return 1 if word.exact else _unknown(program, start, word)


def _rest_of(word: Word, length: int, rest: str) -> Word:
    if word.exact:
        return exact(rest)
    return Word(
        text=word.text[length:], exact=False, shape=word.shape[length:], head=rest,
        globs=word.globs, printed=word.printed, environment=word.environment, splits=word.splits,
    )  # fmt: skip


def _unknown(program: Program, name: str, word: Word) -> Refused:
    kind = program.refused.get(name) or _abbreviated(program, name)
    why = _KINDS.get(kind, "is an option that is not known to only read")
    return Refused(token=name if name in word.text else word.text, why=why, kind=kind)


def _abbreviated(program: Program, name: str) -> str:
    """Return what an abbreviated long option does, if that is known."""
    if not name.startswith("--") or len(name) < 4:
        return ""
    return next((kind for full, kind in program.refused.items() if full.startswith(name)), "")


def _sorted(program: Program, split: _Split) -> Reading | Refused:
    operands = list(split.operands)
    if len(operands) > program.most and not program.frees & set(split.names):
        return Refused(token=operands[program.most].text, why="is one operand too many for a read")
    if len(operands) < program.least:
        return Refused(token=program.name, why="is not told what to show", kind="secrets")
    if program.operands is Operands.NONE and operands:
        return Refused(token=operands[0].text, why="is an operand where a read has none")
    if program.each:
        for word in operands:
            if not word.exact or not re.fullmatch(program.each, word.text):
                return Refused(token=word.text, why="is an operand that is not known to only read")
    for value in _path_values(split) if program.files else ():
        if not value.exact or not re.fullmatch(program.files, value.text):
            return Refused(token=value.text, why="may lie on another machine", kind="reaches")
    reading = Reading()
    scripts = [word for _, value, word in split.values if value is Value.SCRIPT]
    refused = _take_scripts(program, split, operands, scripts)
    if refused is not None:
        return refused
    reading.shown = [word for _, _, word in split.values] + split.operands
    reading.contents = _path_values(split)
    _take_paths(program, operands, reading)
    reading.trees = bool("always" in program.recursive or program.recursive & set(split.names))
    return reading


def _take_scripts(
    program: Program, split: _Split, operands: list[Word], scripts: list[Word]
) -> Refused | None:
    kind = program.operands
    given = bool(program.gives & set(split.names))
    if kind in {*_SCRIPTS, Operands.PATTERN} and not given:
        if not operands:
            return None
        first = operands.pop(0)
        if kind in _SCRIPTS:
            scripts.append(first)
    check = _SCRIPTS.get(kind)
    for script in scripts if check else ():
        if not script.exact and not script.globs:
            return Refused(token=script.text, why="is a script that the text does not tell")
        if check is not None and not check(script.text):
            return Refused(token=script.text, why="is a script that is not known to only read")
    return None


def _take_paths(program: Program, operands: list[Word], reading: Reading) -> None:
    kind = program.operands
    if kind in {Operands.TEXT, Operands.NONE, *_LITERAL} or program.reads is Reads.NOTHING:
        return
    if kind is Operands.TEXT_THEN_PATHS:
        operands = operands[1:]
    paths = [word for word in operands if not (word.exact and word.text == "-")]
    if program.reads is Reads.NAMES:
        reading.names += paths
    else:
        reading.contents += paths
