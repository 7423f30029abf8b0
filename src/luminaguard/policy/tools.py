"""Judging each built-in tool by its arguments.

Arguments that do not fit a tool forbid the call, with what would be allowed instead: a call whose
arguments cannot be read cannot be judged, shown or approved.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.verdict import Lane, Risk
from luminaguard.policy.commands import (
    judge_argv,
    judge_path,
    judge_shell,
    unreadable_text,
)
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import Finding, forbidden, pure_read, shown, unknown_effect
from luminaguard.policy.patches import Unreadable, read_patch
from luminaguard.policy.paths import is_inside, is_reserved, looks_secret
from luminaguard.policy.predict import predicted
from luminaguard.policy.reads import judge_tree
from luminaguard.policy.shell.words import exact

Arguments = Mapping[str, JsonValue]
Rule = Callable[[Arguments, CallContext], list[Finding]]

_NAMED = 3
"""Files of a patch that a reason names; all of them stand in the verdict's changes."""


def judge_tool(name: str, arguments: Arguments, context: CallContext) -> list[Finding]:
    """Judge a call to a built-in tool."""
    known = BUILT_IN.get(name)
    if known is None:
        return [
            forbidden(
                "unknown-tool", f"there is no tool {shown(name)}; there are: {', '.join(BUILT_IN)}"
            )
        ]
    required, rule = known
    if problem := _misfit(arguments, required, _OPTIONAL.get(name, ())):
        wanted = ", ".join(required)
        return [forbidden("bad-arguments", f"{problem}; {name} takes: {wanted}")]
    return rule(arguments, context)


def _misfit(
    arguments: Arguments, required: tuple[str, ...], optional: tuple[str, ...]
) -> str | None:
    if unknown := sorted(set(arguments) - {*required, *optional}):
        return f"unknown argument {shown(unknown[0])}"
    for name in required:
        value = arguments.get(name)
        words = value if name == "argv" and isinstance(value, list) and value else [value]
        if not all(isinstance(word, str) for word in words):
            return f"{name!r} must be text" if name != "argv" else "'argv' must be a list of text"
        if name == "argv" and not isinstance(value, list):
            return "'argv' must be a list of text"
        if name != "content" and any("\0" in str(word) for word in words):
            return f"{name!r} holds a NUL byte"
    return None


def _text(arguments: Arguments, name: str) -> str:
    return str(arguments[name])


def _exec(arguments: Arguments, context: CallContext) -> list[Finding]:
    argv = arguments["argv"]
    words = [str(word) for word in argv] if isinstance(argv, list) else []
    return judge_argv(words, context)


def _shell(arguments: Arguments, context: CallContext) -> list[Finding]:
    return judge_shell(_text(arguments, "command"), context)


def _python(arguments: Arguments, context: CallContext) -> list[Finding]:
    code = _text(arguments, "code")
    if unreadable := unreadable_text(code):
        return unreadable
    return [
        unknown_effect("what Python code does is known once it ran"),
        *predicted(context.without_root(code)),
    ]


def _reads(arguments: Arguments, context: CallContext) -> list[Finding]:
    path = _text(arguments, "path")
    return [
        pure_read("reading files"),
        *unreadable_text(path),
        *judge_path(context.resolve(path), context),
    ]


def _searches(arguments: Arguments, context: CallContext) -> list[Finding]:
    cwds = (context.resolve("."),)
    tree = judge_tree(exact(_text(arguments, "path")), cwds, context)
    return [*_reads(arguments, context), *tree]


def _writes(rule: str, risk: Risk, what: str) -> Rule:
    def judge(arguments: Arguments, context: CallContext) -> list[Finding]:
        return _changed([_text(arguments, "path")], context, rule=rule, risk=risk, what=what)

    return judge


def _patches(arguments: Arguments, context: CallContext) -> list[Finding]:
    try:
        patch = read_patch(_text(arguments, "patch"))
    except Unreadable as error:
        why = f"which files the patch changes is not certain: {error}"
        return [Finding(lane=Lane.RED, risk=Risk.HIGH, rule="not-understood", reason=why)]
    deleted = list(patch.deletes)
    edited = [path for path in patch.paths if path not in patch.deletes]
    return [
        *_changed(deleted, context, rule="deletes-file", risk=Risk.HIGH, what="deleted"),
        *_changed(edited, context, rule="edits-file", risk=Risk.MEDIUM, what="edited"),
    ]


def _changed(
    paths: Sequence[str], context: CallContext, *, rule: str, risk: Risk, what: str
) -> list[Finding]:
    """Judge a change of files by their names alone."""
    refused = [finding for path in paths for finding in _refused(path, what, context)]
    if refused or not paths:
        return refused
    targets = [context.resolve(path) for path in paths]
    places = tuple(context.inside(target) or target for target in targets)
    more = len(paths) - _NAMED
    named = ", ".join(map(shown, paths[:_NAMED])) + (f" and {more} more" if more > 0 else "")
    finding = Finding(
        lane=Lane.RED,
        risk=risk,
        rule=rule,
        reason=f"{named} {'is' if len(paths) == 1 else 'are'} {what}",
        measurable=True,
        changes=places,
    )
    hidden = chain.from_iterable(map(unreadable_text, paths))
    return [finding, *hidden, *chain.from_iterable(map(_touches_secret, places))]


def _refused(path: str, what: str, context: CallContext) -> list[Finding]:
    target = context.resolve(path)
    inside = context.inside(target)
    if inside is None and not _is_scratch(target):
        why = f"{shown(path)} cannot be {what}: only files below {context.workspace} and /tmp can"
        return [forbidden("outside-workspace", why)]
    if inside is not None and is_reserved(inside):
        return [forbidden("reserved-path", f"{shown(path)} is LuminaGuard's own; use another name")]
    return []


def _is_scratch(path: str) -> bool:
    """The guest's own /tmp and /home are writable, and lost with it: no effect on the host."""
    return is_inside(path, "/tmp") or is_inside(path, "/home")  # noqa: S108 - the guest's


def _touches_secret(path: str) -> list[Finding]:
    if not looks_secret(path):
        return []
    why = f"{shown(path)} is named like a secret"
    return [Finding(lane=Lane.RED, risk=Risk.HIGH, rule="touches-secret", reason=why)]


BUILT_IN: dict[str, tuple[tuple[str, ...], Rule]] = {
    "exec": (("argv",), _exec),
    "shell": (("command",), _shell),
    "python": (("code",), _python),
    "read_file": (("path",), _reads),
    "list_files": (("path",), _reads),
    "search_files": (("pattern", "path"), _searches),
    "write_file": (("path", "content"), _writes("writes-file", Risk.MEDIUM, "written")),
    "edit_file": (("path", "old", "new"), _writes("edits-file", Risk.MEDIUM, "edited")),
    "apply_patch": (("patch",), _patches),
    "delete_file": (("path",), _writes("deletes-file", Risk.HIGH, "deleted")),
}
"""Tool → its arguments, all required, and what judges them."""

READING_TOOLS = frozenset({"read_file", "list_files", "search_files"})
"""Tools whose output shows what lies at their `path`."""

_OPTIONAL = {"exec": ("env", "stdin_sha256")}
"""What a user on the command line adds: it is bound and recorded, and changes no verdict."""
