"""What a command that is no pure read is known to do: the finding on it, for risk and reasons."""

import re

from luminaguard.domain.verdict import Lane, Risk
from luminaguard.policy.findings import Finding, shown, unknown_effect
from luminaguard.policy.paths import program_name
from luminaguard.policy.programs.loader import built_in
from luminaguard.policy.programs.match import Refused
from luminaguard.policy.programs.program import Effect
from luminaguard.policy.shell.words import Word

_SYSTEM_DIRECTORIES = ("/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/")
_BY_KIND = {
    "writes": ("option-writes", Risk.MEDIUM, "files"),
    "deletes": ("may-delete", Risk.HIGH, "files"),
    "runs": ("option-runs", Risk.HIGH, ""),
    "reaches": ("leaves-machine", Risk.CRITICAL, ""),
    "lists": ("option-reads", Risk.MEDIUM, ""),
    "secrets": ("reads-secret", Risk.HIGH, ""),
}
"""What an option does → rule, risk, what it changes."""
_SYSTEM = re.compile(
    r"/|/\*.*|(?:/(?:etc|bin|sbin|usr|boot|dev|lib\w*|var|root|home|sys|proc|opt|srv|Users|System)|~)"
    r"(?:/.*)?"
)
"""Places where a write hurts more than the workspace."""


def listed_name(program: str) -> str:
    """Return the name if the program is the machine's own, else the text, which is not listed."""
    name = program_name(program)
    plain = program == name or program in {d + name for d in _SYSTEM_DIRECTORIES}
    return name if plain and " " not in name else f"{program}/"


def refusal(refused: Refused, name: str, words: tuple[Word, ...]) -> Finding:
    """Return the finding on a command because of one word of it."""
    effect = _effect(words)
    reason = f"{shown(refused.token)} {refused.why}"
    if refused.token != name:
        reason += f" ({name})"
    if effect is not None:
        return _known(effect, words, reason)
    rule, risk, changes = _BY_KIND.get(refused.kind, ("effect-unknown", Risk.MEDIUM, ""))
    if refused.kind == "writes" and _names_system(words):
        risk = Risk.HIGH
    return Finding(
        lane=Lane.RED,
        risk=risk,
        rule=rule,
        reason=reason,
        measurable=refused.kind not in {"reaches", "lists", "secrets"},
        changes=tuple(filter(None, [changes])),
        reaches=("the network",) if refused.kind == "reaches" else (),
        secrets=("environment variables",) if refused.kind == "secrets" else (),
        instead=(f"{name} without {refused.token}",) if refused.token.startswith("-") else (),
    )


def not_listed(name: str, words: tuple[Word, ...]) -> Finding:
    """Return the finding on a program that is not in the table of pure reads."""
    effect = _effect(words)
    if effect is not None:
        return _known(effect, words, f"{shown(name)} {effect.why}")
    return unknown_effect(f"{shown(name)} is not on the list of pure reads")


def _effect(words: tuple[Word, ...]) -> Effect | None:
    """Return what is known of a program that does more than read, by its longest known name."""
    effects = built_in().effects
    texts = [word.text for word in words if word.exact]
    if not texts:
        return None
    name = listed_name(texts[0])
    plain = [text for text in texts[1:] if not text.startswith("-")][:2]
    for count in (2, 1, 0):
        known = effects.get(" ".join([name, *plain[:count]]))
        if known is not None:
            return known
    return None


def _known(effect: Effect, words: tuple[Word, ...], reason: str) -> Finding:
    risk = Risk(effect.risk)
    if effect.rule == "writes-file" and _names_system(words):
        risk = Risk.HIGH
    targets = tuple(w.text for w in words[1:] if not w.text.startswith("-"))[:8]
    return Finding(
        lane=Lane.RED,
        risk=risk,
        rule=effect.rule,
        reason=reason,
        measurable=effect.rehearsed,
        changes=targets if effect.changes == "operands" else tuple(filter(None, [effect.changes])),
        reaches=tuple(filter(None, [effect.reaches])),
        instead=tuple(filter(None, [effect.instead])),
    )


def _names_system(words: tuple[Word, ...]) -> bool:
    return any(_SYSTEM.fullmatch(word.text) for word in words[1:])
