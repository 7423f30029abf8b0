"""Whether a rule is about a call: widely for what denies or asks, narrowly for what allows."""

from collections.abc import Callable, Mapping
from enum import IntEnum

from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.domain.changeset import Changeset
from luminaguard.policy.findings import shown
from luminaguard.policy.patterns import glob
from luminaguard.policy.rules.facts import Facts
from luminaguard.policy.rules.rule import Action, Rule
from luminaguard.policy.rules.spoken import only_reads

_WILDCARDS = frozenset("*?")


class Match(IntEnum):
    """How surely a rule is about a call."""

    NO = 0
    MAYBE = 1
    """Its words occur in text that was not read as commands: code, or a line with a doubt."""
    YES = 2


def match(rule: Rule, facts: Facts) -> Match:
    """Say whether a rule that denies or asks is about a call; all conditions must hold."""
    if not _is_about(rule, facts):
        return Match.NO
    found = Match.YES
    if rule.commands:
        found = min(found, _commands(rule, facts))
    if rule.paths and not any(p.is_like(path) for p in rule.paths for path in facts.paths):
        return Match.NO
    if rule.hosts and not any(_host(rule, host) for host in facts.hosts):
        return Match.NO
    if rule.arguments and not _arguments(rule, facts, _like):
        return Match.NO
    return found


def covers(rule: Rule, facts: Facts) -> bool:
    """Say whether a rule that allows covers the whole of a call, before its effect is known."""
    if not _is_about(rule, facts) or bool(facts.server) != bool(rule.servers):
        return False
    if not facts.trusted or not facts.certain:
        return False
    if rule.commands and not _all_allowed(rule, facts):
        return False
    if rule.hosts and not (facts.hosts and all(_host(rule, host) for host in facts.hosts)):
        return False
    if rule.paths and not facts.runs and not _all_inside(rule, facts):
        return False
    return _arguments(rule, facts, _exactly) and facts.is_plain


def leaves_no_choice(rule: Rule, facts: Facts) -> bool:
    """Say whether a rule that covers a call of an MCP server spells out all of it.

    Whoever proposes such a call can put nothing into it, so it carries no data away. A command is
    never such a call, however exactly it is written: what it sends may stand in files.
    """
    named = (*rule.tools, *rule.servers, *rule.arguments.values())
    return (
        bool(rule.arguments)
        and len(rule.tools) == len(rule.servers) == 1
        and rule.arguments.keys() == facts.call.arguments.keys()
        and not any(set(text) & _WILDCARDS for text in named)
    )


def touched(rule: Rule, facts: Facts, changeset: Changeset) -> str:
    """Return the first change that a rule by path is about, named or not; empty if there is none.

    The measured effect says more than the call's words: `make clean` names nothing.
    """
    if not rule.paths or not _is_about(rule, facts):
        return ""
    if rule.commands and _commands(rule, facts) is Match.NO:
        return ""
    if rule.hosts or rule.arguments:
        return ""
    changed = (change.path for change in changeset.changes)
    return next((path for path in changed if any(p.is_like(path) for p in rule.paths)), "")


def token(rule: Rule, facts: Facts) -> str:
    """Return what in the call the rule is about, for a reason."""
    for said in facts.commands:
        if any(pattern.is_in(said.words, anywhere=True) for pattern in rule.commands):
            return shown(" ".join(said.words))
    for path in facts.paths:
        if any(pattern.is_like(path) for pattern in rule.paths):
            return shown(path)
    for host in facts.hosts:
        if _host(rule, host):
            return shown(host)
    return shown(facts.call.tool)


def _is_about(rule: Rule, facts: Facts) -> bool:
    if rule.servers and not any(_named(server, facts.server) for server in rule.servers):
        return False
    if not rule.tools:
        return True
    if rule.action is Action.ALLOW:
        return any(glob(tool).match(facts.call.tool) for tool in rule.tools)
    return any(_named(tool, facts.call.tool) for tool in rule.tools)


def _commands(rule: Rule, facts: Facts) -> Match:
    """Look for the rule's commands among the call's; the surest find counts."""
    patterns = [pattern for pattern in rule.commands if pattern.may_be_among(facts.names)]
    for said in facts.commands:
        for pattern in patterns:
            if not pattern.is_in(said.words, anywhere=True):
                continue
            if pattern.is_in(said.words, anywhere=False) or not only_reads(said):
                return Match.YES
    loose = (*facts.loose, *facts.inner)
    if any(pattern.is_in(loose, anywhere=True) for pattern in patterns):
        return Match.MAYBE
    return Match.NO


def _all_allowed(rule: Rule, facts: Facts) -> bool:
    """Each command is covered by the rule, or needs none; and one is what the rule is about."""
    patterns = [pattern for pattern in rule.commands if pattern.may_be_among(facts.names)]
    covered = [any(p.covers(said.words) for p in patterns) for said in facts.commands]
    return any(covered) and all(
        is_covered or only_reads(said)
        for is_covered, said in zip(covered, facts.commands, strict=True)
    )


def _all_inside(rule: Rule, facts: Facts) -> bool:
    return bool(facts.paths) and all(
        any(pattern.covers(path) for pattern in rule.paths) for path in facts.paths
    )


def _host(rule: Rule, host: str) -> bool:
    return any(glob(pattern.lower()).match(host) for pattern in rule.hosts)


def _named(pattern: str, name: str) -> bool:
    return glob(pattern.lower()).match(name.lower()) is not None


def _arguments(rule: Rule, facts: Facts, fits: Callable[[str, str], bool]) -> bool:
    given: Mapping[str, JsonValue] = facts.call.arguments
    return all(
        name in given and fits(pattern, _as_text(given[name]))
        for name, pattern in rule.arguments.items()
    )


def _like(pattern: str, text: str) -> bool:
    return glob(pattern.lower()).match(text.lower()) is not None


def _exactly(pattern: str, text: str) -> bool:
    return glob(pattern).match(text) is not None


def _as_text(value: JsonValue) -> str:
    """A text as it is; anything else in the one JSON form."""
    return value if isinstance(value, str) else canonical_json(value).decode()
