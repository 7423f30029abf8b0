"""How one change reads: the text difference of a path, computed on the host."""

from dataclasses import dataclass
from enum import StrEnum


class Body(StrEnum):
    """What can be shown of a change's content."""

    TEXT = "text"
    BINARY = "binary"
    TOO_LARGE = "too-large"
    """Text, but over the size up to which differences are computed."""
    NONE = "none"
    """The content did not change (mode, link, directory)."""


class LineKind(StrEnum):
    """The first column of a unified difference."""

    CONTEXT = " "
    ADDED = "+"
    REMOVED = "-"


@dataclass(frozen=True, slots=True)
class Hunk:
    """A run of changed lines with its context; lines are raw text, not yet safe to print."""

    old_start: int
    new_start: int
    lines: tuple[tuple[LineKind, str], ...]
    """Each line without its newline; `missing_newline` on the diff tells of a file's last line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """The difference of one path."""

    path: str
    body: Body
    added: int = 0
    removed: int = 0
    hunks: tuple[Hunk, ...] = ()
    note: str = ""
    """What the lines do not show: "no newline at end of file", "line endings changed", ..."""
