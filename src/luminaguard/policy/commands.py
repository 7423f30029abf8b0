"""Judging commands: shell text, or an argument vector."""

from collections.abc import Sequence

from luminaguard.domain.verdict import Lane, Risk
from luminaguard.domain.visible import spell, visible
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import Finding, pure_read, shown, unknown_effect
from luminaguard.policy.paths import is_inside
from luminaguard.policy.predict import predicted
from luminaguard.policy.reads import judge_location, judge_word
from luminaguard.policy.shell.commands import Redirect, SimpleCommand, Trouble
from luminaguard.policy.shell.reading import reading
from luminaguard.policy.shell.variables import only_formats
from luminaguard.policy.shell.words import exact
from luminaguard.policy.simple import Asking, judge_words

MAX_TEXT_CHARS = 10_000
"""Longer commands and code are not read: nobody would read them on a card either."""

_DUPLICATES = frozenset({">&", "<&"})
_WRITES_TO = frozenset({">", ">>", ">|", "&>", "&>>", ">&"})
_NOWHERE = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr"})
_TROUBLE_RISKS = {"obscured": Risk.HIGH, "function": Risk.HIGH}


def judge_shell(command: str, context: CallContext) -> list[Finding]:
    """Judge every command of a shell text; what is not understood is red."""
    if unreadable := unreadable_text(command):
        return unreadable
    findings = _judge_text(command, context, Asking(judge_text=_judge_inner))
    if any(finding.lane is not Lane.GREEN for finding in findings):
        findings += predicted(context.without_root(command))
    return findings


def judge_argv(argv: Sequence[str], context: CallContext) -> list[Finding]:
    """Judge a program with its arguments, as they are handed to the system."""
    text = " ".join(argv)
    if unreadable := unreadable_text(text):
        return unreadable
    command = SimpleCommand(words=tuple(map(exact, argv)), cwds=(context.resolve("."),))
    findings = judge_words(command, context, Asking(judge_text=_judge_inner))
    if any(finding.lane is not Lane.GREEN for finding in findings):
        findings += predicted(context.without_root(text))
    return findings


def judge_path(path: str, context: CallContext) -> list[Finding]:
    """Judge the reading of one absolute path; empty when there is nothing against it."""
    return judge_location(path, context)


def unreadable_text(text: str) -> list[Finding]:
    """Return what speaks against text that a person could not read as it is; empty if nothing.

    Such calls are asked about rather than forbidden: a card spells hidden characters out, and some
    have honest uses (a joined emoji in a string). Measuring no effect does not release them.
    """
    if len(text) > MAX_TEXT_CHARS:
        why = f"{len(text)} characters are too many to judge"
        return [Finding(lane=Lane.RED, risk=Risk.HIGH, rule="too-long", reason=why)]
    if visible(text, keep_newlines=True, tab="\t") != text:
        hidden = next((char for char in text if _cannot_be_seen(char)), None)
        token = f"'{spell(hidden)}'" if hidden else "its characters together"
        why = f"{token} cannot be seen as it is, so the text may not be what it looks like"
        return [Finding(lane=Lane.RED, risk=Risk.HIGH, rule="hidden-characters", reason=why)]
    return []


def _cannot_be_seen(char: str) -> bool:
    return visible(char, keep_newlines=True, tab="\t") != char


def _judge_inner(
    text: str, cwds: tuple[str, ...], context: CallContext, asking: Asking
) -> list[Finding]:
    """Judge shell text that a command hands to another shell."""
    return [finding for cwd in cwds for finding in _judge_text(text, context.entering(cwd), asking)]


def _judge_text(text: str, context: CallContext, asking: Asking) -> list[Finding]:
    script = reading(text, context.resolve("."))
    findings = [_troubled(trouble) for trouble in script.troubles]
    for command in script.commands:
        findings += _judge_command(command, context, asking)
    return findings


def _judge_command(command: SimpleCommand, context: CallContext, asking: Asking) -> list[Finding]:
    findings: list[Finding] = []
    for name, value in command.prefix if command.words else ():
        if not (only_formats(name, value) or (name == "IFS" and _is_read(command))):
            why = f"{shown(name)} is set for the command, and may change what it does"
            findings.append(unknown_effect(why, rule="sets-environment"))
    for redirect in command.redirects:
        findings += _judge_redirect(redirect, command, context)
    if command.words:
        findings += judge_words(command, context, asking)
    return findings or [pure_read("the shell")]


def _is_read(command: SimpleCommand) -> bool:
    """Say whether it is `read`, whose own word splitting is what IFS is set for."""
    return command.words[0].exact and command.words[0].text == "read"


def _judge_redirect(
    redirect: Redirect, command: SimpleCommand, context: CallContext
) -> list[Finding]:
    operator, target = redirect.operator, redirect.target
    if redirect.descriptor not in {"", "0", "1", "2"}:
        why = f"descriptor {shown(redirect.descriptor)} is opened"
        return [unknown_effect(why, rule="redirection")]
    if operator in {"<<", "<<<"}:
        if target.environment:
            return [_from_environment(target.text)]
        return []
    if operator in _DUPLICATES and target.exact and target.text in {"1", "2", "0"}:
        return []
    if operator in _WRITES_TO:
        if target.exact and target.text in _NOWHERE:
            return []
        path = context.without_root(target.text)
        why = f"the output is written to {shown(target.text)}"
        outside = target.exact and _is_outside(target.text, context)
        written = Finding(
            lane=Lane.RED,
            risk=Risk.HIGH if outside else Risk.MEDIUM,
            rule="writes-file",
            reason=why,
            measurable=True,
            changes=(path,),
        )
        return [written, *_location(redirect, command, context)]
    if operator == "<":
        return _location(redirect, command, context)
    return [unknown_effect(f"{shown(operator)} connects a descriptor", rule="redirection")]


def _location(redirect: Redirect, command: SimpleCommand, context: CallContext) -> list[Finding]:
    return judge_word(redirect.target, command.cwds, context, contents=True)


def _is_outside(target: str, context: CallContext) -> bool:
    path = context.resolve(target)
    return context.inside(path) is None and not is_inside(path, "/tmp")  # noqa: S108 - the guest's


def _from_environment(token: str) -> Finding:
    why = f"{shown(token)} shows a variable that may hold a secret"
    return Finding(lane=Lane.RED, risk=Risk.HIGH, rule="reads-secret", reason=why, secrets=(token,))


def _troubled(trouble: Trouble) -> Finding:
    return Finding(
        lane=Lane.RED,
        risk=_TROUBLE_RISKS.get(trouble.rule, Risk.MEDIUM),
        rule=trouble.rule,
        reason=f"{shown(trouble.token)} {trouble.why}",
        measurable=trouble.rule != "obscured",
    )
