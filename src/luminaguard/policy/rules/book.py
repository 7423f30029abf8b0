"""All rules of a session, and what they make of a verdict.

The strictest wins: built-in FORBIDDEN, then deny, then ask, then what the built-in rules say. A
rule that allows changes no lane; it only offers to answer for the human, and only where a standing
yes may be used at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.verdict import Lane, Verdict
from luminaguard.policy.bounds import never_unasked
from luminaguard.policy.findings import shown
from luminaguard.policy.rules.facts import Facts
from luminaguard.policy.rules.match import (
    Match,
    covers,
    leaves_no_choice,
    match,
    token,
    touched,
)
from luminaguard.policy.rules.rule import Action, Rule, Tier
from luminaguard.policy.standing import NoStandingYes, StandingYes, never_stands
from luminaguard.policy.taint import is_tainted


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFile:
    """A rules file as it was read."""

    tier: Tier
    path: str
    digest: str
    """SHA-256 of its bytes, hexadecimal."""
    rules: tuple[Rule, ...] = ()
    loosening: tuple[Rule, ...] = ()
    """Entries of a project's file that would loosen: reported, and not in force."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the file with its rules by name, as records have it."""
        return {
            "tier": self.tier.value,
            "path": self.path,
            "sha256": self.digest,
            "rules": [rule.name for rule in self.rules],
            "not_in_force": [rule.name for rule in self.loosening],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """The rules in force."""

    files: tuple[RulesFile, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules in force, the user's first."""
        return tuple(rule for file in self.files for rule in file.rules)

    def apply(self, verdict: Verdict, facts: Facts, *, untainted: Verdict | None = None) -> Verdict:
        """Return the verdict with what the rules add; the lane never becomes milder.

        Args:
            verdict: What the built-in rules say.
            facts: The call.
            untainted: What they would say in a session that has seen nothing. The session's taint
                speaks of what a call could carry away, so it does not count where the user's own
                rule spells out the whole call.
        """
        if verdict.lane is Lane.FORBIDDEN or not self.files:
            return verdict
        found = [(rule, match(rule, facts)) for rule in self._of(Action.DENY, Action.ASK)]
        denying = [r for r, m in found if r.action is Action.DENY and m is Match.YES]
        if denying:
            reasons = tuple(f"{_why(rule)}: {token(rule, facts)}" for rule in denying)
            return _forbidden(verdict, denying, reasons)
        asking = [(rule, m) for rule, m in found if m is not Match.NO]
        if asking:
            return _asking(verdict, asking, facts)
        return self._allowed(verdict, facts, untainted)

    def measured(self, verdict: Verdict, facts: Facts, changeset: Changeset) -> Verdict:
        """Return the verdict with what the rules by path say of the effect it really had."""
        for rule in self._of(Action.DENY):
            if path := touched(rule, facts, changeset):
                return _forbidden(verdict, [rule], (f"{_why(rule)}: it changes {shown(path)}",))
        for rule in self._of(Action.ASK):
            if path := touched(rule, facts, changeset):
                reason = f"{_why(rule)}: it changes {shown(path)}"
                return _red(verdict, (rule.slug,), (reason,))
        return verdict

    def standing(self, verdict: Verdict, changeset: Changeset) -> StandingYes | NoStandingYes:
        """Return the yes of the rule that the verdict names, if its bounds hold."""
        rule = next((rule for rule in self.rules if rule.slug == verdict.allowed_by), None)
        if rule is None:
            return NoStandingYes()
        why = never_stands(verdict) or never_unasked(changeset) or rule.bounds.breach(changeset)
        if why:
            return NoStandingYes(why=f"rule {rule.slug} does not cover it: {why}")
        file = next(file for file in self.files if rule in file.rules)
        return StandingYes(
            approver="rule",
            name=rule.slug,
            reason=f"allowed by rule {rule.slug}" + (f": {rule.reason}" if rule.reason else ""),
            proof=f"{rule.source} sha256:{file.digest}",
        )

    def _allowed(self, verdict: Verdict, facts: Facts, untainted: Verdict | None) -> Verdict:
        offered = untainted if untainted is not None and is_tainted(verdict) else verdict
        if never_stands(offered):
            return verdict
        for rule in self._of(Action.ALLOW):
            if covers(rule, facts) and (offered is verdict or leaves_no_choice(rule, facts)):
                return replace(offered, allowed_by=rule.slug)
        return verdict

    def _of(self, *actions: Action) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.action in actions)


def allowed_reason(verdict: Verdict, rulebook: Rulebook) -> str:
    """Return in words what a rule that allows lets pass, and how far."""
    rule = next((rule for rule in rulebook.rules if rule.slug == verdict.allowed_by), None)
    if rule is None:
        return ""
    where = [pattern.text for pattern in rule.paths]
    limit = f" while it changes only {', '.join(where)}" if where else ""
    return f"rule {rule.slug} lets it pass unasked{limit}"


def _forbidden(verdict: Verdict, rules: Sequence[Rule], reasons: tuple[str, ...]) -> Verdict:
    return replace(
        verdict,
        lane=Lane.FORBIDDEN,
        rules=tuple(rule.slug for rule in rules),
        reasons=reasons,
        only_effect_unknown=False,
        allowed_by="",
        instead=(),
    )


def _asking(verdict: Verdict, asking: Sequence[tuple[Rule, Match]], facts: Facts) -> Verdict:
    reasons = tuple(
        f"{_why(rule)}: "
        + (token(rule, facts) if found is Match.YES else "its words occur in what it runs")
        for rule, found in asking
    )
    return _red(verdict, tuple(rule.slug for rule, _ in asking), reasons)


def _red(verdict: Verdict, slugs: tuple[str, ...], reasons: tuple[str, ...]) -> Verdict:
    """A human is asked: not released by a measured absence of effects, nor by a standing yes."""
    was_red = verdict.lane is Lane.RED
    return replace(
        verdict,
        lane=Lane.RED,
        rules=(*slugs, *(verdict.rules if was_red else ())),
        reasons=(*reasons, *(verdict.reasons if was_red else ())),
        only_effect_unknown=False,
        allowed_by="",
        instead=(),
    )


def _why(rule: Rule) -> str:
    says = {Action.DENY: "denies it", Action.ASK: "wants it asked about"}[rule.action]
    why = f" ({rule.reason})" if rule.reason else ""
    return f"rule {rule.slug} {says}{why}"
