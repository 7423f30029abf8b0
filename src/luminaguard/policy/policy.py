"""The policy: what may run unasked, what is rehearsed and asked about, what never runs.

Judging is pure: the same call in the same context has the same verdict, and nothing that a guest,
a model or a server says enters but the call itself. The built-in rules come first; the user's and
the project's can tighten them, and the user's can answer for the human within bounds.
"""

from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.verdict import Verdict
from luminaguard.errors import PolicyError
from luminaguard.policy.cache import VerdictCache, VerdictKey
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import forbidden, verdict_of
from luminaguard.policy.mcp import McpCall
from luminaguard.policy.mcp.judge import findings_on
from luminaguard.policy.rules.book import Rulebook
from luminaguard.policy.rules.facts import facts_of
from luminaguard.policy.standing import NoStandingYes, StandingYes
from luminaguard.policy.taint import CLEAN, Taint, tainted
from luminaguard.policy.tools import judge_tool

__all__ = ["CallContext", "McpCall", "Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The built-in rules and those of the given files. Safe to share."""

    rulebook: Rulebook = field(default_factory=Rulebook)
    problem: str = ""
    """Why the rules cannot be read: then every call is forbidden."""
    cache: VerdictCache = field(default_factory=VerdictCache, compare=False)
    version: str = field(init=False)
    """SHA-256 over the rules, hexadecimal: approvals are bound to it."""

    def __post_init__(self) -> None:
        """Take the digest of everything that a verdict can come from."""
        own = {f"{file.tier.value}:{file.path}": file.digest for file in self.rulebook.files}
        parts = {"built-in": built_in_version(), "problem": self.problem, **own}
        object.__setattr__(self, "version", digest_of({k: v.encode() for k, v in parts.items()}))

    def judge(self, call: ToolCall, context: CallContext) -> Verdict:
        """Return the verdict on a call to a built-in tool. Nothing runs."""
        key = VerdictKey(
            call=call.digest,
            workspace=context.workspace,
            cwd=context.cwd,
            taint=context.taint.key,
        )
        return self.cache.get(self.version, key, lambda: self._judged(call, context))

    def judge_mcp(self, mcp: McpCall, taint: Taint = CLEAN) -> Verdict:
        """Return the verdict on a call to a tool of an MCP server. Nothing runs."""
        key = VerdictKey(
            call=mcp.call.digest,
            workspace="",
            cwd="",
            taint=taint.key,
            server=mcp.server,
            trusted=mcp.trusted,
            definition=mcp.definition.digest if mcp.definition else "",
        )
        return self.cache.get(self.version, key, lambda: self._judged_mcp(mcp, taint))

    def measured(
        self, call: ToolCall, context: CallContext, verdict: Verdict, changeset: Changeset
    ) -> Verdict:
        """Return the verdict with what rules by path say of the measured effect.

        FORBIDDEN where a rule denies a change that the call's words did not name.
        """
        if changeset.is_empty or not self.rulebook.files:
            return verdict
        return self.rulebook.measured(verdict, facts_of(call, context), changeset)

    def standing(self, verdict: Verdict, changeset: Changeset) -> StandingYes | NoStandingYes:
        """Return the yes of the user's rule that covers a call with this effect, if one does."""
        return self.rulebook.standing(verdict, changeset)

    def _judged(self, call: ToolCall, context: CallContext) -> Verdict:
        if self.problem:
            return verdict_of([forbidden("policy-unreadable", self.problem)])
        findings = tainted(judge_tool(call.tool, call.arguments, context), context.taint)
        verdict = verdict_of(findings)
        if not self.rulebook.files:
            return verdict
        return self.rulebook.apply(verdict, facts_of(call, context))

    def _judged_mcp(self, mcp: McpCall, taint: Taint) -> Verdict:
        if self.problem:
            return verdict_of([forbidden("policy-unreadable", self.problem)])
        findings = findings_on(mcp)
        verdict = verdict_of(tainted(findings, taint))
        if not self.rulebook.files:
            return verdict
        context = CallContext(workspace="/")
        facts = facts_of(mcp.call, context, server=mcp.server, trusted=mcp.trusted)
        return self.rulebook.apply(verdict, facts, untainted=verdict_of(findings))


def digest_of(sources: dict[str, bytes]) -> str:
    """Return one digest over named sources, in the order of their names."""
    running = sha256()
    for name, content in sorted(sources.items()):
        running.update(f"{name} {len(content)}\n".encode())
        running.update(content)
    return running.hexdigest()


@cache
def built_in_version() -> str:
    """Return the digest of the code and data that the built-in rules are: any change counts.

    Raises:
        PolicyError: they cannot be read.
    """
    found = dict(_sources(files(__package__ or "luminaguard.policy"), ""))
    if not found:
        raise PolicyError(
            "the rules cannot be read, so approvals could not be bound to them",
            hint="reinstall luminaguard with its source files",
        )
    return digest_of(found)


def _sources(directory: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in directory.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.name.endswith((".py", ".toml")):
            found.append((name, entry.read_bytes()))
        elif entry.is_dir() and entry.name != "__pycache__":
            found += _sources(entry, f"{name}/")
    return found
