"""Judging commands: an argument vector, or a shell line of understood commands."""

from collections.abc import Sequence

from luminaguard.domain.verdict import Lane, Risk
from luminaguard.domain.visible import visible
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import Finding, pure_read, shown, unknown_effect
from luminaguard.policy.paths import is_kernel_file, looks_secret, program_name
from luminaguard.policy.predict import predicted, reads_secret
from luminaguard.policy.reads import NotARead, pure_read_of
from luminaguard.policy.shell import NotUnderstood, parse

MAX_TEXT_CHARS = 10_000
"""Longer commands and code are not read: nobody would read them on a card either."""

_SHELLS = frozenset({"sh", "bash", "dash", "/bin/sh", "/bin/bash", "/bin/dash"})


def judge_shell(command: str, context: CallContext) -> list[Finding]:
    """Judge every command of a shell line; what is not understood is red."""
    if unreadable := unreadable_text(command):
        return unreadable
    commands = parse(command)
    if isinstance(commands, NotUnderstood):
        why = f"the shell line is not understood from {shown(commands.token)} on"
        foretold = predicted(context.without_root(command))
        return [unknown_effect(why, rule="not-understood"), *foretold]
    findings: list[Finding] = []
    for words in commands:
        if _enters_directory(words):
            context = context.entering(words[1])
            findings += [pure_read("cd"), *judge_path(context.resolve("."), context)]
        else:
            findings += _judge_words(words, context)
    return findings


def judge_argv(argv: Sequence[str], context: CallContext) -> list[Finding]:
    """Judge a program with its arguments, as they are handed to the system."""
    if unreadable := unreadable_text(" ".join(argv)):
        return unreadable
    if len(argv) == 3 and argv[0] in _SHELLS and argv[1] == "-c":
        return judge_shell(argv[2], context)
    return _judge_words(argv, context)


def judge_path(path: str, context: CallContext) -> list[Finding]:
    """Judge the reading of one absolute path; empty when there is nothing against it."""
    inside = context.inside(path)
    if looks_secret(path if inside is None else inside):
        return [reads_secret(path)]
    if inside is None and is_kernel_file(path):
        why = f"{shown(path)} belongs to the kernel: reading it can have effects, or never end"
        return [unknown_effect(why, rule="kernel-file")]
    return []


def unreadable_text(text: str) -> list[Finding]:
    """Return what speaks against text that a person could not read as it is; empty if nothing.

    Such calls are asked about rather than forbidden: a card spells hidden characters out, and some
    have honest uses (a joined emoji in a string). Measuring no effect does not release them.
    """
    if len(text) > MAX_TEXT_CHARS:
        why = f"{len(text)} characters are too many to judge"
        return [Finding(lane=Lane.RED, risk=Risk.HIGH, rule="too-long", reason=why)]
    if visible(text, keep_newlines=True, tab="\t") != text:
        why = "it holds characters that cannot be seen, so it may not be what it looks like"
        return [Finding(lane=Lane.RED, risk=Risk.HIGH, rule="hidden-characters", reason=why)]
    return []


def _judge_words(argv: Sequence[str], context: CallContext) -> list[Finding]:
    read = pure_read_of(argv)
    if isinstance(read, NotARead):
        foretold = predicted(context.without_root(" ".join(argv)))
        return [unknown_effect(f"{shown(read.token)} {read.why}"), *foretold]
    findings = [pure_read(program_name(argv[0]))]
    for path in read.paths:
        findings += judge_path(context.resolve(path), context)
    return findings


def _enters_directory(words: Sequence[str]) -> bool:
    return len(words) == 2 and words[0] == "cd" and bool(words[1]) and words[1][0] != "-"
