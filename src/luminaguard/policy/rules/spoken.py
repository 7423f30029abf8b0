"""The commands that a call speaks of, as words: where rules and grants meet the shell's reader."""

from collections.abc import Mapping
from dataclasses import dataclass

from luminaguard.domain.calls import JsonValue
from luminaguard.policy.commands import MAX_TEXT_CHARS
from luminaguard.policy.shell import NotUnderstood, parse

Words = tuple[str, ...]

_SHELLS = frozenset({"sh", "bash", "dash", "/bin/sh", "/bin/bash", "/bin/dash"})
_MAX_DEPTH = 5
"""Shells within shells that are looked through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a call would run, as far as it can be read."""

    commands: tuple[Words, ...] = ()
    targets: tuple[str, ...] = ()
    """Files that redirections name."""
    unread: str = ""
    """Text that was not read as commands."""
    is_plain: bool = True
    """The commands' words say all: nothing expands, nothing is redirected."""


def spoken(tool: str, arguments: Mapping[str, JsonValue]) -> Spoken:
    """Return the commands of a call to `exec`, `shell` or `python`."""
    if tool == "exec":
        argv = arguments.get("argv")
        return _argv(tuple(str(word) for word in argv) if isinstance(argv, list) else ())
    if tool == "shell":
        return _shell(str(arguments.get("command", "")))
    return Spoken(unread=str(arguments.get("code", ""))[:MAX_TEXT_CHARS])


def _argv(words: Words, depth: int = 0) -> Spoken:
    if len(words) == 3 and words[0] in _SHELLS and words[1] == "-c" and depth < _MAX_DEPTH:
        return _shell(words[2], depth + 1)
    return Spoken(commands=(words,) if words else (), is_plain=bool(words))


def _shell(text: str, depth: int = 0) -> Spoken:
    if len(text) > MAX_TEXT_CHARS:
        return Spoken(unread=text[:MAX_TEXT_CHARS], is_plain=False)
    commands = parse(text)
    if isinstance(commands, NotUnderstood):
        return Spoken(unread=text, is_plain=False)
    parts = [_argv(words, depth) for words in commands]
    return Spoken(
        commands=tuple(words for part in parts for words in part.commands),
        unread=" ".join(part.unread for part in parts),
        is_plain=all(part.is_plain for part in parts),
    )
