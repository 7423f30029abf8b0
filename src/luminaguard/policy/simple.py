"""Judging one simple command: its program, subcommand, options and operands.

Programs that run another one (`timeout`, `xargs`, `sh -c`, `find -exec`) are unwrapped where it is
certain what they run; what they run is then judged like any other command.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from luminaguard.domain.verdict import Lane, Risk
from luminaguard.policy.context import CallContext
from luminaguard.policy.effects import listed_name, not_listed, refusal
from luminaguard.policy.findings import Finding, pure_read, shown, unknown_effect
from luminaguard.policy.paths import glob_may_be_secret, looks_secret, program_name
from luminaguard.policy.programs.loader import built_in
from luminaguard.policy.programs.match import Reading, Refused, before_operand, reading_of
from luminaguard.policy.programs.program import Operands, Program, Reads
from luminaguard.policy.reads import judge_tree, judge_word
from luminaguard.policy.shell.commands import SimpleCommand
from luminaguard.policy.shell.variables import only_formats
from luminaguard.policy.shell.words import Word, exact

MAX_WRAPPERS = 8
"""Commands within commands that are unwrapped."""

_SHELLS = frozenset({"sh", "bash", "dash", "zsh"})
_SHELL_OPTIONS = re.compile(r"-(?:l?c|cl)")
_READ_ALIKE = re.compile(r"[A-Za-z0-9_ ./|&;'\",:@%+\n-]*")
"""Text that every shell of the family reads in the same way."""
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.DOTALL)
_ASKS_VERSION = frozenset({"--version", "--help"})
_FOUND = replace(exact("{}"), exact=False, shape="*", head="./", globs=True)
"""A file that find hands over: its name begins with that of the directory searched."""
_FED = Word(text="(input)", exact=False, shape="*", printed=True, splits=True)
"""A word that xargs takes from its input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What unwrapping needs: who judges text, and how deep it is already."""

    judge_text: Callable[[str, tuple[str, ...], CallContext, "Asking"], list[Finding]]
    depth: int = 0

    def deeper(self) -> "Asking":
        """Return the same, one wrapper further in."""
        return replace(self, depth=self.depth + 1)


def judge_words(command: SimpleCommand, context: CallContext, asking: Asking) -> list[Finding]:
    """Judge a command by its words."""
    first = command.words[0]
    if asking.depth > MAX_WRAPPERS:
        return [unknown_effect(f"{shown(first.text)} is wrapped too often", rule="not-understood")]
    if not first.exact:
        return [_dynamic(first)]
    name = listed_name(first.text)
    if name in _SHELLS:
        return _judge_inner_shell(name, command, context, asking)
    if _asks_version(name, command.words):
        return [pure_read(f"{name} {command.words[1].text}")]
    return _judge_program(name, command, context, asking)


def _judge_program(
    name: str, command: SimpleCommand, context: CallContext, asking: Asking
) -> list[Finding]:
    program, rest = _program(name, list(command.words[1:]))
    if isinstance(program, Refused):
        return [refusal(program, name, command.words)]
    if program is None:
        return [not_listed(name, command.words)]
    if program.wraps >= 0:
        return _judge_wrapped(program, rest, command, context, asking)
    if name == "find":
        return _judge_find(program, rest, command, context, asking)
    return _judge_reading(program, rest, command, context)


def _dynamic(first: Word) -> Finding:
    why = f"{shown(first.text)} names a program that only running it tells"
    return Finding(
        lane=Lane.RED, risk=Risk.HIGH, rule="dynamic-command", reason=why, measurable=True
    )


def _asks_version(name: str, words: tuple[Word, ...]) -> bool:
    return (
        len(words) == 2
        and words[1].exact
        and words[1].text in _ASKS_VERSION
        and name in built_in().versioned
    )


def _program(name: str, rest: list[Word]) -> tuple[Program | Refused | None, list[Word]]:
    """Return the entry for a program or its subcommand, and the words after both."""
    programs = built_in()
    program = programs.find(name)
    while program is not None and program.subcommands:
        taken = before_operand(program, rest)
        if isinstance(taken, Refused):
            return taken, rest
        at = taken.count
        if at >= len(rest):
            if program.bare:
                return program, rest
            return Refused(token=program.name, why="is given no subcommand"), rest
        word = rest[at]
        inner = programs.find(f"{program.name} {word.text}") if word.exact else None
        if inner is None:
            why = "is a subcommand that is not known to only read"
            return Refused(token=word.text, why=why), rest
        program, rest = inner, rest[at + 1 :]
    return program, rest


def _judge_reading(
    program: Program, rest: list[Word], command: SimpleCommand, context: CallContext
) -> list[Finding]:
    reading = reading_of(program, rest)
    if isinstance(reading, Refused):
        return [refusal(reading, program.name, command.words)]
    findings = [pure_read(program.name), *_judge_shown(program, reading)]
    for contents, words in ((True, reading.contents), (False, reading.names)):
        for word in words:
            if word.splits and not (program.inert and not contents):
                findings.append(_may_split(word))
            findings += judge_word(word, command.cwds, context, contents=contents)
    if reading.trees and program.reads is Reads.CONTENT:
        for tree in reading.contents or [None]:
            findings += judge_tree(tree, command.cwds, context)
    return findings


def _may_split(word: Word) -> Finding:
    return unknown_effect(f"{shown(word.text)} may become several words", rule="unknown-path")


def _judge_shown(program: Program, reading: Reading) -> list[Finding]:
    if program.operands is Operands.TEST:
        return []
    for word in reading.shown:
        if word.environment:
            why = f"{shown(word.text)} shows a variable that may hold a secret"
            return [
                Finding(
                    lane=Lane.RED,
                    risk=Risk.HIGH,
                    rule="reads-secret",
                    reason=why,
                    secrets=(word.text,),
                )
            ]
    return []


def _judge_inner_shell(
    name: str, command: SimpleCommand, context: CallContext, asking: Asking
) -> list[Finding]:
    words = command.words[1:]
    if len(words) == 2 and all(word.exact for word in words):
        option, text = words
        alike = name in {"bash", "sh", "dash"} or _READ_ALIKE.fullmatch(text.text)
        if _SHELL_OPTIONS.fullmatch(option.text) and alike:
            return asking.judge_text(text.text, command.cwds, context, asking.deeper())
    if len(words) == 1 and words[0].exact and words[0].text in _ASKS_VERSION:
        return [pure_read(f"{name} {words[0].text}")]
    script = bool(words) and command.fed_by is None and not words[0].text.startswith("-")
    return [
        Finding(
            lane=Lane.RED,
            risk=Risk.MEDIUM if script else Risk.HIGH,
            rule="runs-code",
            reason=f"{shown(name)} runs commands that are not in this text",
            measurable=True,
        )
    ]


def _judge_wrapped(
    program: Program,
    rest: list[Word],
    command: SimpleCommand,
    context: CallContext,
    asking: Asking,
) -> list[Finding]:
    taken = before_operand(program, rest)
    if isinstance(taken, Refused):
        return [refusal(taken, program.name, command.words)]
    at = taken.count
    findings = [pure_read(program.name)]
    if program.frees & set(taken.names):
        return findings
    for path in taken.paths:
        findings += judge_word(path, command.cwds, context, contents=True)
    while program.assigns and at < len(rest):
        match = _ASSIGNMENT.fullmatch(rest[at].text) if rest[at].exact else None
        if match is None:
            break
        if not only_formats(match["name"], exact(match["value"])):
            why = f"{shown(match['name'])} is set for the command, and may change what it does"
            findings.append(unknown_effect(why, rule="sets-environment"))
        at += 1
    findings += [_may_split(word) for word in rest[at : at + program.wraps] if not word.exact]
    inner = rest[at + program.wraps :]
    if not inner:
        return [*findings, _without_command(program)] if program.name != "xargs" else findings
    if program.name == "xargs":
        inner = _fed(rest[:at], inner, command)
    wrapped = replace(command, words=tuple(inner), redirects=(), prefix=())
    return findings + judge_words(wrapped, context, asking.deeper())


def _without_command(program: Program) -> Finding:
    if program.name == "env":
        return Finding(
            lane=Lane.RED,
            risk=Risk.HIGH,
            rule="reads-secret",
            reason="'env' shows all variables, which may hold secrets",
            secrets=("environment",),
        )
    return unknown_effect(f"{shown(program.name)} is given no command")


def _fed(options: list[Word], inner: list[Word], command: SimpleCommand) -> list[Word]:
    """Return the command that xargs runs, with a word for what its input adds."""
    word = _FED
    source = command.fed_by
    if source is not None and _lists_workspace(source):
        word = replace(_FED, splits=False, head="./", globs=True, shape="./*")
    mark = _replaced(options)
    if mark is None:
        return [*inner, word]
    return [word if mark in each.text else each for each in inner]


def _replaced(options: list[Word]) -> str | None:
    """Return the text that xargs replaces, None if it appends."""
    for at, option in enumerate(options):
        if option.text in {"-i", "--replace"}:
            return "{}"
        if option.text == "-I" and at + 1 < len(options):
            return options[at + 1].text
        for start in ("-I", "-i", "--replace="):
            if option.text.startswith(start) and len(option.text) > len(start):
                return option.text[len(start) :]
    return None


def _lists_workspace(source: SimpleCommand) -> bool:
    """Say whether a command prints names of files below where it stands, none of them picked.

    Then reading them all is no more than searching the tree, which is a pure read.
    """
    words = source.words
    if not words or not all(word.exact for word in words) or source.redirects or source.fed_by:
        return False
    texts = [word.text for word in words]
    name = program_name(texts[0])
    lists = {
        "find": "-regex" not in " ".join(texts),
        "git": texts[1:2] == ["ls-files"],
        "rg": bool({"-l", "--files", "--files-with-matches"} & set(texts)),
    }.get(name, False)
    outside = any(text.startswith(("/", "~", "..")) for text in texts[1:])
    aimed = any(looks_secret(t) or glob_may_be_secret(t, broad=False) for t in texts[1:])
    return lists and not outside and not aimed


def _judge_find(
    program: Program,
    rest: list[Word],
    command: SimpleCommand,
    context: CallContext,
    asking: Asking,
) -> list[Finding]:
    """Judge find with what it runs; the files found count as all those below its roots."""
    plain: list[Word] = []
    findings: list[Finding] = []
    at = 0
    while at < len(rest):
        word = rest[at]
        if not (word.exact and word.text in {"-exec", "-execdir"}):
            plain.append(word)
            at += 1
            continue
        end = at + 1
        while end < len(rest) and not (rest[end].exact and rest[end].text in {";", "+"}):
            end += 1
        inner = rest[at + 1 : end]
        if end == len(rest) or not inner or word.text == "-execdir":
            return [
                refusal(
                    Refused(token=word.text, why="runs a command", kind="runs"),
                    "find",
                    command.words,
                )
            ]
        safe = _lists_workspace(
            replace(
                command,
                words=tuple(exact(w.text) for w in command.words[: at + 1]),
                redirects=(),
                fed_by=None,
            )
        )
        found = _FOUND if safe else _FED
        filled = tuple(found if "{}" in each.text else each for each in inner)
        wrapped = replace(command, words=filled, redirects=(), prefix=())
        findings += judge_words(wrapped, context, asking.deeper())
        at = end + 1
    return findings + _judge_reading(program, plain, command, context)
