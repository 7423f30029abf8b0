"""What a session has seen, and what that makes of a way out.

Private data, text that strangers wrote, and a way out: whoever has all three can be talked into
sending the first through the last. The first two are remembered here for a session; the third is
found in a call. Pure: the caller keeps the value and replaces it after each outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.findings import Finding

TAINTED = "tainted-session"
"""The rule's name in verdicts and records. A verdict that carries it takes no grant and no rule
that allows: see `is_tainted`."""

_KEPT_SOURCES = 8
_LEAVES = frozenset({"leaves-machine"})
"""Rules that mean a way out even where the finding does not say where to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """What a session has seen so far. It only ever grows: `|` joins what further calls showed.

    The sources are for people: the first few of each kind, in words. What decides is whether
    there are any, so `key` is all that a cache needs.
    """

    private: tuple[str, ...] = ()
    """Where private data was read: "MCP server 'mail'", ".env", ..."""
    untrusted: tuple[str, ...] = ()
    """Where text was read that others write: "MCP server 'github'", "example.org", ..."""

    @property
    def is_armed(self) -> bool:
        """Whether both were seen, so that a way out is dangerous."""
        return bool(self.private and self.untrusted)

    @property
    def key(self) -> str:
        """All of this value that a verdict can depend on, for a cache."""
        return f"{'p' if self.private else '-'}{'u' if self.untrusted else '-'}"

    def __or__(self, seen: "Taint") -> "Taint":
        """Return the taint of a session that has also seen this."""
        return Taint(
            private=_joined(self.private, seen.private),
            untrusted=_joined(self.untrusted, seen.untrusted),
        )


CLEAN = Taint()
"""The taint of a session that has seen nothing yet."""


def tainted(findings: Sequence[Finding], taint: Taint) -> list[Finding]:
    """Return the findings on a call, with one more if the session's taint meets a way out.

    To be asked before the findings are added up. The added finding is RED and CRITICAL, so a
    call with a way out is asked about even if all else was green.
    """
    ways_out = _ways_out(findings)
    if not taint.is_armed or not ways_out:
        return list(findings)
    why = (
        f"this session has read private data ({taint.private[0]}) and text that others wrote "
        f"({taint.untrusted[0]}), and this call can send it away ({ways_out[0]})"
    )
    return [
        *findings,
        Finding(lane=Lane.RED, risk=Risk.CRITICAL, rule=TAINTED, reason=why, reaches=ways_out),
    ]


def is_tainted(verdict: Verdict) -> bool:
    """Say whether no grant and no rule that allows may release this call: a human must."""
    return TAINTED in verdict.rules


def _ways_out(findings: Sequence[Finding]) -> tuple[str, ...]:
    """A pure read of a trusted server reaches that server, which is no way out."""
    named = (
        finding.reaches or (("the network",) if finding.rule in _LEAVES else ())
        for finding in findings
        if finding.lane is not Lane.GREEN
    )
    return tuple(dict.fromkeys(place for places in named for place in places))


def _joined(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))[:_KEPT_SOURCES]
