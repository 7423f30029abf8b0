"""A standing yes: what a human said beforehand, by a rule or by a grant, in place of an answer now.

Where none may be used is decided here, for rules and grants alike: a call that cannot be read, that
is critical, that touches secrets, or that could carry private data out of a tainted session.
"""

from dataclasses import dataclass

from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.taint import is_tainted

UNREADABLE = frozenset((
    "hidden-characters", "too-long", "not-understood", "not-judged", "obscured", "dynamic-command",
    "mcp-not-understood",
))  # fmt: skip
"""Rules that mean: nobody can say what the call is."""
SECRET = frozenset({"reads-secret", "touches-secret", "mcp-reads-secret"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingYes:
    """One rule's or grant's yes to one measured effect."""

    approver: str
    """"rule" or "grant": named as such in the record."""
    name: str
    """The rule's slug, or the grant's id."""
    reason: str
    proof: str
    """Which file with which digest, or which grant and who gave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoStandingYes:
    """Somebody must be asked; `why` says why what would have covered the call does not."""

    why: str = ""


def never_stands(verdict: Verdict) -> str:
    """Return why no rule and no grant may answer for the human here; empty if one may."""
    if verdict.lane is not Lane.RED:
        return f"the lane is {verdict.lane.value}"
    if is_tainted(verdict):
        return "the session has seen private data and text of strangers"
    if verdict.risk is Risk.CRITICAL:
        return "its risk is critical"
    named = frozenset(verdict.rules)
    if named & UNREADABLE:
        return "it cannot be read with certainty"
    if verdict.secrets or named & SECRET:
        return "it touches something that is named like a secret"
    return ""
