"""What speaks against a call: one token, and the kind of effect that it stands for."""

from dataclasses import dataclass

from luminaguard.domain.verdict import Lane, Risk
from luminaguard.policy.findings import Finding, shown
from luminaguard.policy.mcp.lexicon import Class, Word

SECRET = Class(rule="mcp-reads-secret", risk=Risk.HIGH, secrets=True)
ADDRESS = Class(rule="mcp-any-address", risk=Risk.HIGH, reaches="any address that it is given")
CODE = Class(rule="mcp-runs", risk=Risk.CRITICAL, changes="anything that code can change")
UNREADABLE = Class(rule="mcp-not-understood", risk=Risk.HIGH)
UNPROVEN = Class(rule="mcp-unknown-effect", risk=Risk.HIGH)
PLEADS = Class(rule="mcp-pleads", risk=Risk.CRITICAL)
SAYS_WRITES = Class(rule="mcp-says-writes", risk=Risk.HIGH, changes="data of {server}")
_WHY = {
    SECRET.rule: "gives away secrets",
    ADDRESS.rule: "goes to any address, and can carry data there",
    "mcp-deletes": "deletes or ends something",
    "mcp-sends": "sends something to others",
    "mcp-spends": "moves money or goods",
    "mcp-runs": "runs or steers something",
    "mcp-grants-access": "changes who may do what",
    "mcp-operates": "acts on a page or a device",
    "mcp-writes-file": "writes a file",
    "mcp-connects": "opens connections",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One reason why a call is not a pure read."""

    means: Class
    deciding: str
    """What decided: a word of the name or the description, an argument, a hint."""
    why: str
    """The rest of the sentence that names the token; empty: the usual one of its class."""


def of_word(word: Word, token: str) -> Evidence:
    """Return what a verb that writes stands for."""
    if word.means is None:
        raise ValueError(f"{token!r} does not write")
    return Evidence(means=word.means, deciding=token, why="")


def usual_reason(means: Class) -> str:
    """Return what a class of effects is, as it follows "it"."""
    return _WHY.get(means.rule, "changes something")


def finding_on(evidence: Evidence, *, tool: str, server: str) -> Finding:
    """Return the finding that a piece of evidence is, in words for people."""
    means, token = evidence.means, evidence.deciding
    usual = f"{shown(token)} of {shown(tool)} says that it {usual_reason(means)}"
    where = f"MCP server {shown(server)}"
    reaches = (means.reaches.format(server=where),) if means.reaches else ()
    return Finding(
        lane=Lane.RED,
        risk=means.risk,
        rule=means.rule,
        reason=evidence.why or usual,
        changes=(means.changes.format(server=where),) if means.changes else (),
        reaches=tuple(dict.fromkeys((where, *reaches))),
        secrets=(token,) if means.secrets else (),
    )
