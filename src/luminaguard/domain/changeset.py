"""The measured effect of a call on the workspace: what is shown, approved and committed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from luminaguard.domain.calls import JsonValue, canonical_json


class EntryType(StrEnum):
    """Kinds of file system entries that can be carried faithfully."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One state of one path."""

    type: EntryType
    mode: int
    """Permission bits, at most 0o777; 0o777 for symbolic links."""
    size: int = 0
    """Bytes of a file; 0 for others."""
    sha256: str | None = None
    """Hexadecimal digest of a file's bytes; None for others."""
    target: str | None = None
    """Where a symbolic link points; None for others."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the entry as canonical JSON fields, absent ones left out."""
        fields: dict[str, JsonValue] = {"type": self.type.value, "mode": f"{self.mode:04o}"}
        if self.type is EntryType.FILE:
            fields |= {"size": self.size, "sha256": self.sha256}
        if self.type is EntryType.SYMLINK:
            fields["target"] = self.target
        return fields


class ChangeKind(StrEnum):
    """What happened to a path."""

    CREATE = "create"
    MODIFY = "modify"
    DELETE = "delete"
    CHMOD = "chmod"
    SYMLINK = "symlink"
    """A symbolic link was made or points elsewhere now."""
    MKDIR = "mkdir"
    RMDIR = "rmdir"
    RETYPE = "retype"
    """The entry became another type, say a file where a directory was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A reason to look twice at a change."""

    name: str
    """Stable slug: "runs-later", "link-outside", "git-internal", ..."""
    why: str
    """One sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path, before and after. `path` is relative to the workspace root."""

    path: str
    kind: ChangeKind
    before: Entry | None
    after: Entry | None
    marks: tuple[Mark, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        """Return the change as canonical JSON fields."""
        fields: dict[str, JsonValue] = {"path": self.path, "kind": self.kind.value}
        if self.before is not None:
            fields["before"] = self.before.as_json()
        if self.after is not None:
            fields["after"] = self.after.as_json()
        if self.marks:
            fields["marks"] = [mark.name for mark in self.marks]
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Changes under ignored paths: counted on the card, not taken back."""

    files: int = 0
    size_bytes: int = 0
    examples: tuple[str, ...] = ()
    """The first few paths, sorted."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the counts as JSON fields."""
        return {"files": self.files, "bytes": self.size_bytes, "examples": list(self.examples)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeset:
    """All measured file effects since the last settle, against a base."""

    base: str
    """Digest of the manifest that the changes are against."""
    changes: tuple[Change, ...] = ()
    """Sorted by path."""
    scratch: Scratch = field(default_factory=Scratch)
    dropped: tuple[str, ...] = ()
    """Paths of sockets and FIFOs, which are never carried out of the guest."""

    @property
    def is_empty(self) -> bool:
        """True when nothing would be committed."""
        return not self.changes

    @property
    def digest(self) -> str:
        """SHA-256 over base and changes, hexadecimal: what an approval is bound to."""
        return sha256(
            canonical_json(
                {
                    "base": self.base,
                    "changes": [change.as_json() for change in self.changes],
                    "dropped": list(self.dropped),
                }
            )
        ).hexdigest()

    def as_json(self) -> Mapping[str, JsonValue]:
        """Return the public JSON form (`luminaguard exec --json`, audit records)."""
        return {
            "digest": self.digest,
            "base": self.base,
            "changes": [change.as_json() for change in self.changes],
            "scratch": self.scratch.as_json(),
            "dropped": list(self.dropped),
        }
