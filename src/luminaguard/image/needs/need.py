"""A need of a project, and what an image says to it."""

from dataclasses import dataclass
from enum import StrEnum


class NeedKind(StrEnum):
    """What is needed."""

    PROGRAM = "program"
    PYTHON = "python"
    """The interpreter's version."""
    DISTRIBUTION = "distribution"
    """A Python package, by the name that pip knows."""
    NODE_MODULE = "node-module"


class Status(StrEnum):
    """What the image says."""

    PRESENT = "present"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """It cannot be told from the files alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing that a file of the project names. All text is the project's own: unsafe to print.

    Two needs are the same if they are of one kind and name.
    """

    kind: NeedKind
    name: str
    where: str
    """The file that says so, relative to the project."""
    versions: str = ""
    """What its version must be, as written; empty: anything."""
    is_conditional: bool = False
    """Needed on some systems or versions only, so that its absence may be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A need and what an image says to it."""

    need: Need
    status: Status
    detail: str = ""
