"""The values that reading shell text results in."""

from dataclasses import dataclass, field

from luminaguard.policy.shell.words import Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something because of which the text must not run unasked, whatever its commands are."""

    rule: str
    token: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where a file descriptor is connected to."""

    operator: str
    descriptor: str
    """The number written before the operator; empty if none is."""
    target: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleCommand:
    """A program with its words, or only assignments or redirections."""

    words: tuple[Word, ...]
    prefix: tuple[tuple[str, Word], ...] = ()
    """Assignments before the command, in order."""
    redirects: tuple[Redirect, ...] = ()
    cwds: tuple[str, ...] = ()
    """Absolute directories that it may run in."""
    fed_by: "SimpleCommand | None" = None
    """The command whose output is its input, where that is a plain pipe."""


@dataclass(slots=True)
class Script:
    """All that was found in a text, in the order of the text."""

    commands: list[SimpleCommand] = field(default_factory=list[SimpleCommand])
    troubles: list[Trouble] = field(default_factory=list[Trouble])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is known where a command stands."""

    cwds: tuple[str, ...]
    bound: dict[str, Word]
    """Variable → its value. Never changed in place."""
