"""Judging what is read: one place, or a word that names one or many."""

from posixpath import join, normpath

from luminaguard.domain.verdict import Lane, Risk
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import Finding, shown, unknown_effect
from luminaguard.policy.paths import (
    glob_may_be_secret,
    is_inside,
    is_kernel_file,
    looks_secret,
    secret_place,
    widely_private,
)
from luminaguard.policy.predict import reads_secret
from luminaguard.policy.shell.words import Word


def judge_location(path: str, context: CallContext, *, contents: bool = True) -> list[Finding]:
    """Judge the reading of one absolute path; empty when there is nothing against it.

    Args:
        path: Absolute and resolved.
        context: Where the call happens.
        contents: What is inside is read, not only names and sizes.
    """
    inside = context.inside(path)
    if looks_secret(path if inside is None else inside):
        return [reads_secret(path)]
    if inside is not None:
        return []
    if is_kernel_file(path):
        why = f"{shown(path)} belongs to the kernel: reading it can have effects, or never end"
        return [unknown_effect(why, rule="kernel-file")]
    if secret_place(path, contents=contents):
        return [reads_secret(path)]
    return []


def judge_word(
    word: Word, cwds: tuple[str, ...], context: CallContext, *, contents: bool
) -> list[Finding]:
    """Judge what a path reads that a word of a command names, in every directory it may be in."""
    if word.environment:
        return [_untold(word, "comes from a variable that this text does not set")]
    if word.exact:
        found: list[Finding] = []
        _, colon, tail = word.text.rpartition(":")  # `HEAD:.env`, `host:.env`
        if colon and looks_secret(tail):
            return [reads_secret(tail)]
        for cwd in cwds:
            found += judge_location(_absolute(word.text, cwd), context, contents=contents)
        return found
    if word.printed and not word.globs:
        if not contents and not glob_may_be_secret(word.shape, broad=False, names=True):
            return []
        return [_untold(word, "names a file that only running it tells")]
    return _judge_glob(word, cwds, context, contents=contents)


def judge_tree(word: Word | None, cwds: tuple[str, ...], context: CallContext) -> list[Finding]:
    """Judge the reading of all that lies below a directory; None is where the command stands."""
    found: list[Finding] = []
    for cwd in cwds:
        start = _absolute("." if word is None else word.text if word.exact else word.head, cwd)
        if context.inside(start) is None and widely_private(start):
            why = f"all below {shown(start)} is read, where people keep secrets"
            found.append(
                Finding(
                    lane=Lane.RED, risk=Risk.HIGH, rule="reads-secret", reason=why, secrets=(start,)
                )
            )
    return found


def _judge_glob(
    word: Word, cwds: tuple[str, ...], context: CallContext, *, contents: bool
) -> list[Finding]:
    for cwd in cwds:
        whole = normpath(join(cwd, word.head.rpartition("/")[0] or "."))
        inside = context.inside(whole) is not None
        climbs = ".." in word.shape
        if glob_may_be_secret(
            word.shape, broad=contents and (not inside or climbs), names=not contents
        ):
            return [reads_secret(word.text)]
        found = judge_location(whole, context, contents=contents)
        if found:
            return found
        if (
            not inside
            and any(is_inside(top, whole) for top in ("/proc", "/sys", "/dev"))
            and contents
        ):
            return [reads_secret(word.text)]
    return []


def _absolute(text: str, cwd: str) -> str:
    whole = normpath(join(cwd, text))
    return whole[1:] if whole.startswith("//") else whole


def _untold(word: Word, why: str) -> Finding:
    return Finding(
        lane=Lane.RED,
        risk=Risk.HIGH,
        rule="unknown-path",
        reason=f"{shown(word.text)} {why}",
    )
