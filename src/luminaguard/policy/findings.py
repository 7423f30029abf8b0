"""What the rules say of a call, one finding each, and the verdict that they add up to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from luminaguard.domain.verdict import Lane, Risk, Verdict, highest

_SHOWN_CHARS = 120
_STRICTNESS = (Lane.GREEN, Lane.RED, Lane.FORBIDDEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule's word on one part of a call."""

    lane: Lane
    risk: Risk
    rule: str
    """Stable slug, as it stands in verdicts and records."""
    reason: str
    """One sentence that names the token which decided."""
    measurable: bool = False
    """A rehearsal shows all that this rule is afraid of: no measured effect, no objection."""
    changes: tuple[str, ...] = ()
    reaches: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    """These four as in `Verdict`."""


def pure_read(what: str) -> Finding:
    """Return the only finding that lets a call run unasked."""
    return Finding(
        lane=Lane.GREEN,
        risk=Risk.LOW,
        rule="pure-read",
        reason=f"{what} only reads",
        measurable=True,
    )


def unknown_effect(reason: str, *, rule: str = "effect-unknown") -> Finding:
    """Return the default: what the call does is known once it was rehearsed."""
    return Finding(lane=Lane.RED, risk=Risk.MEDIUM, rule=rule, reason=reason, measurable=True)


def forbidden(rule: str, reason: str) -> Finding:
    """Return a finding that keeps the call from running at all."""
    return Finding(lane=Lane.FORBIDDEN, risk=Risk.CRITICAL, rule=rule, reason=reason)


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """Add findings up: the strictest lane and the highest risk win, greens do not soften.

    A call without findings was not judged, so it is forbidden.
    """
    found = findings or (forbidden("not-judged", "no rule covers this call"),)
    lane = max((finding.lane for finding in found), key=_STRICTNESS.index)
    decisive = [finding for finding in found if finding.lane is lane]
    return Verdict(
        lane=lane,
        risk=highest(*(finding.risk for finding in found)),
        rules=tuple(dict.fromkeys(finding.rule for finding in decisive)),
        reasons=tuple(dict.fromkeys(finding.reason for finding in decisive)),
        only_effect_unknown=lane is Lane.RED and all(finding.measurable for finding in decisive),
        changes=_all_of(finding.changes for finding in found),
        reaches=_all_of(finding.reaches for finding in found),
        secrets=_all_of(finding.secrets for finding in found),
        instead=_all_of(finding.instead for finding in found),
    )


def _all_of(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(parts)))


def shown(token: str) -> str:
    """Return a token quoted for a reason: escapes spelled out, long ones cut with a count."""
    more = len(token) - _SHOWN_CHARS
    return repr(token) if more <= 0 else f"{token[:_SHOWN_CHARS]!r} and {more} characters more"
