"""One rule as a value: what it is about, and what it says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from luminaguard.policy.bounds import Bounds
from luminaguard.policy.patterns import PathPattern, WordPattern


class Action(StrEnum):
    """What a rule says, strictest first. The strictest rule that matches wins."""

    DENY = "deny"
    ASK = "ask"
    ALLOW = "allow"


class Tier(StrEnum):
    """Whose rule it is. A project's may only tighten."""

    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule. All conditions that it names must hold; of several patterns for one, any does."""

    name: str
    action: Action
    tier: Tier
    source: str
    """Name of the file that it stands in."""
    reason: str = ""
    """Why, in the words of whoever wrote it."""
    tools: tuple[str, ...] = ()
    """Names with `*` and `?`; empty: any tool."""
    servers: tuple[str, ...] = ()
    """MCP servers by name. A rule that allows and names none is about built-in tools only."""
    paths: tuple[PathPattern, ...] = ()
    """What the call names or changes."""
    hosts: tuple[str, ...] = ()
    commands: tuple[WordPattern, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    """Argument → pattern of its value."""
    bounds: Bounds = field(default_factory=Bounds)
    """Of a rule that allows: the effects that may pass unasked."""

    @property
    def slug(self) -> str:
        """How the rule is named in verdicts and records: `user:no-push`."""
        return f"{self.tier.value}:{self.name}"
