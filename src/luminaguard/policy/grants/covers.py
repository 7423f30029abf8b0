"""Whether a grant covers a call with its measured effect. Anything that does not fit is a no."""

from dataclasses import dataclass
from datetime import datetime

from luminaguard.domain.changeset import Changeset
from luminaguard.domain.grant import GrantScope
from luminaguard.domain.verdict import Verdict
from luminaguard.policy.bounds import never_unasked
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import shown
from luminaguard.policy.grants.bound import DigestOf, run_files
from luminaguard.policy.grants.grant import Grant, Terms, effect_digest
from luminaguard.policy.rules.facts import Facts
from luminaguard.policy.rules.spoken import Said, only_reads
from luminaguard.policy.standing import never_stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call with what it really did, as grants look at it."""

    facts: Facts
    verdict: Verdict
    changeset: Changeset
    workspace: str
    """Identity of the workspace."""
    session_id: str
    policy_version: str
    digest_of: DigestOf
    now: datetime


UNRELATED = "it is about other calls"


def uncovered(grant: Grant, question: Question) -> str:
    """Return why the grant does not cover the call, empty if it does.

    UNRELATED where the grant is about something else altogether, so that nobody need be told.
    """
    if grant.workspace != question.workspace or not grant.is_open(question.now):
        return UNRELATED
    if grant.scope is GrantScope.SESSION and grant.session_id != question.session_id:
        return UNRELATED
    if not _is_about(grant.terms, question.facts):
        return UNRELATED
    if is_asked_for(question.verdict):
        return "a rule wants it asked about"
    return (
        never_stands(question.verdict)
        or never_unasked(question.changeset)
        or _moved_files(grant.terms, question)
        or _other_effect(grant.terms, question.changeset)
    )


def is_asked_for(verdict: Verdict) -> bool:
    """Say whether a person's rule wants the call asked about, whatever was granted."""
    return any(rule.startswith(("user:", "project:")) for rule in verdict.rules)


def commands_to_cover(facts: Facts) -> list[Said]:
    """Return the commands that do more than read."""
    return [said for said in facts.commands if not only_reads(said)]


def is_within(terms: Terms, word: str, context: CallContext) -> bool:
    """Say whether a word is a path that the grant's bounds cover."""
    if word.startswith("-") or not word:
        return False
    inside = context.inside(context.resolve(word))
    return inside is not None and any(p.covers(inside) for p in terms.bounds.paths)


def _is_about(terms: Terms, facts: Facts) -> bool:
    if terms.tool != facts.call.tool or facts.server:
        return False
    if terms.call_digest:
        return terms.call_digest == facts.call.digest
    if not facts.is_plain:
        return False
    if not facts.runs:
        return bool(facts.paths) and all(
            any(pattern.covers(path) for pattern in terms.bounds.paths) for path in facts.paths
        )
    needed = commands_to_cover(facts)
    return bool(needed) and all(
        any(
            shape.covers(said.words, lambda word, at=said.context: is_within(terms, word, at))
            for shape in terms.shapes
        )
        for said in needed
    )


def _moved_files(terms: Terms, question: Question) -> str:
    """What the commands run must be what it was, and the call itself must not have changed it."""
    changed = {change.path for change in question.changeset.changes}
    for path, digest in terms.files.items():
        if path in changed or question.digest_of(path) != digest:
            return f"{shown(path)} is not what it was when it was granted"
    if terms.call_digest and not question.facts.runs:
        return ""
    for said in commands_to_cover(question.facts):
        run = run_files(said.words, said.context, question.digest_of)
        if run is None and not terms.call_digest:
            return f"{shown(said.words[0])} cannot be compared with what was granted"
        if run and any(terms.files.get(path) != digest for path, digest in run.items()):
            return "it runs files that the grant does not name"
    return ""


def _other_effect(terms: Terms, changeset: Changeset) -> str:
    if terms.effect:
        return "" if effect_digest(changeset) == terms.effect else "its effect is another one"
    return terms.bounds.breach(changeset)
