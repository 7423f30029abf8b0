"""The commands that a call speaks of, as words: where rules and grants meet the shell's reader."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.verdict import Lane
from luminaguard.policy.commands import MAX_TEXT_CHARS, judge_argv, judge_shell
from luminaguard.policy.context import CallContext
from luminaguard.policy.shell.commands import Redirect, SimpleCommand
from luminaguard.policy.shell.reading import reading
from luminaguard.policy.shell.words import Word

Words = tuple[str, ...]

_SHELLS = frozenset({"sh", "bash", "dash", "/bin/sh", "/bin/bash", "/bin/dash"})
_MAX_DEPTH = 5
"""Shells within shells that are looked through."""
_PIPE = re.compile(r"(?<![|>])\|(?!\|)&?")
_NOWHERE = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr"})
_STREAMS = frozenset({"0", "1", "2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One command by its words, and where it runs."""

    words: Words
    """Without quotes. What only running tells stands as it was written."""
    context: CallContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a call would run, as far as it can be read."""

    commands: tuple[Said, ...] = ()
    targets: tuple[str, ...] = ()
    """Files that redirections name."""
    unread: str = ""
    """Text that was not read as commands."""
    piped: str = ""
    """Everything behind the first pipe. What is given by a pipe could be a program's code, so what
    allows wants this to only read."""
    is_plain: bool = True
    """The commands' words say all: nothing expands but names of files, no output is written and
    no input is given, and the directory is certain."""


def spoken(tool: str, arguments: Mapping[str, JsonValue], context: CallContext) -> Spoken:
    """Return the commands of a call to `exec`, `shell` or `python`."""
    if tool == "exec":
        argv = arguments.get("argv")
        words = tuple(str(word) for word in argv) if isinstance(argv, list) else ()
        return _argv(words, context, 0)
    if tool == "shell":
        return _shell(str(arguments.get("command", "")), context, 0)
    return Spoken(unread=str(arguments.get("code", ""))[:MAX_TEXT_CHARS])


def only_reads(said: Said) -> bool:
    """Say whether a command by itself is green."""
    if len(said.words) == 2 and said.words[0] == "cd":
        return True
    return all(finding.lane is Lane.GREEN for finding in judge_argv(said.words, said.context))


def is_read(text: str, context: CallContext) -> bool:
    """Say whether shell text by itself is green; nothing at all is."""
    return not text or all(f.lane is Lane.GREEN for f in judge_shell(text, context))


def _argv(words: Words, context: CallContext, depth: int) -> Spoken:
    if len(words) == 3 and words[0] in _SHELLS and words[1] == "-c" and depth < _MAX_DEPTH:
        return _shell(words[2], context, depth + 1)
    if not words:
        return Spoken(is_plain=False)
    return Spoken(commands=(Said(words=words, context=context),))


def _shell(text: str, context: CallContext, depth: int) -> Spoken:
    if len(text) > MAX_TEXT_CHARS or "\0" in text or not _is_encodable(text):
        return Spoken(unread=text[:MAX_TEXT_CHARS], is_plain=False)
    script = reading(text, context.resolve("."))
    parts = [_command(command, context, depth) for command in script.commands]
    return Spoken(
        commands=tuple(said for part in parts for said in part.commands),
        targets=tuple(target for part in parts for target in part.targets),
        unread=" ".join([text if script.troubles else "", *(part.unread for part in parts)]),
        piped=_piped(text) or "; ".join(part.piped for part in parts if part.piped),
        is_plain=not script.troubles and all(part.is_plain for part in parts),
    )


def _command(command: SimpleCommand, context: CallContext, depth: int) -> Spoken:
    inside = context.entering(command.cwds[0]) if command.cwds else context
    words = tuple(word.text for word in command.words)
    said = _argv(words, inside, depth) if words else Spoken()
    harmless = all(_is_harmless(redirect) for redirect in command.redirects)
    is_certain = not command.prefix and harmless and len(command.cwds) == 1
    return Spoken(
        commands=said.commands,
        targets=tuple(redirect.target.text for redirect in command.redirects),
        unread=said.unread,
        piped=said.piped,
        is_plain=said.is_plain and is_certain and _are_plain(command.words),
    )


def _are_plain(words: Sequence[Word]) -> bool:
    """Only names of files may be left open, and they must not turn out to be options."""
    return all(word.exact or (word.globs and word.head and not word.splits) for word in words)


def _is_harmless(redirect: Redirect) -> bool:
    """Streams may be joined or thrown away."""
    target = redirect.target
    return target.exact and (
        (redirect.operator in {">&", "<&"} and target.text in _STREAMS)
        or (redirect.operator in {">", ">>", "&>"} and target.text in _NOWHERE)
    )


def _piped(text: str) -> str:
    """Return everything behind the first pipe, wherever that stands."""
    pipe = _PIPE.search(text)
    return text[pipe.end() :] or text if pipe else ""


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
