"""What a session has seen, and what that makes of a way out.

Private data, text that strangers wrote, and a way out: whoever has all three can be talked into
sending the first through the last. The first two are remembered here for a session; the third is
found in a call. Pure: the caller keeps the value and replaces it after each outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.findings import Finding, shown
from luminaguard.policy.mcp.call import McpCall
from luminaguard.policy.mcp.lexicon import lexicon
from luminaguard.policy.mcp.names import words_of
from luminaguard.policy.paths import is_inside, looks_secret

TAINTED = "tainted-session"
"""The rule's name in verdicts and records. A verdict that carries it takes no grant and no rule
that allows: see `is_tainted`."""

_KEPT_SOURCES = 8
_HOMES = ("/home", "/root", "/Users")
_LEAVES = frozenset({"leaves-machine"})
"""Rules that mean a way out even where the finding does not say where to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """What a session has seen so far. It only ever grows: `|` joins what further calls showed.

    The sources are for people: the first few of each kind, in words. What decides is whether
    there are any.
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
        """All of this value that a verdict can depend on, for a cache.

        One of the two alone changes nothing; with both, a verdict names the first of each.
        """
        return repr((self.private[0], self.untrusted[0])) if self.is_armed else ""

    def __or__(self, seen: "Taint") -> "Taint":
        """Return the taint of a session that has also seen this."""
        return Taint(
            private=_joined(self.private, seen.private),
            untrusted=_joined(self.untrusted, seen.untrusted),
        )


CLEAN = Taint()
"""The taint of a session that has seen nothing yet."""


def seen_in_mcp(mcp: McpCall) -> Taint:
    """Return what the result of a call to an MCP server's tool shows, once the model may see it.

    All of it is text of others. It is private where name, server or arguments speak of what people
    keep to themselves: mail, files, accounts, rows of a database, secrets.
    """
    where = f"MCP server {shown(mcp.server)}"
    spoken = {*words_of(mcp.call.tool), *words_of(mcp.server)}
    named = {word for key in mcp.call.arguments for word in words_of(key)}
    known = lexicon()
    is_secret = bool(known.secret_names & (spoken | named))
    is_private = is_secret or bool(known.private & spoken)
    return Taint(private=(where,) if is_private else (), untrusted=(where,))


def seen_in_verdict(verdict: Verdict) -> Taint:
    """Return what the output of a call to a built-in tool shows, once the model may see it.

    Secrets are private; whatever came from beyond the machine is text of others.
    """
    return Taint(private=verdict.secrets[:_KEPT_SOURCES], untrusted=verdict.reaches[:_KEPT_SOURCES])


def seen_in_path(path: str, context_root: str) -> Taint:
    """Return what a file shows: `path` is absolute, `context_root` is the workspace's root.

    Files in a home directory outside of the workspace are private, and those named like secrets.
    """
    in_home = not is_inside(path, context_root) and any(is_inside(path, top) for top in _HOMES)
    return Taint(private=(shown(path),) if in_home or looks_secret(path) else ())


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
