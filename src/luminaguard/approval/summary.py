"""A changeset in numbers and in one line: what a human reads first."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.changeset import ChangeKind, Changeset
from luminaguard.domain.diff import Body, FileDiff

KIND_WORDS: Mapping[ChangeKind, str] = {
    ChangeKind.CREATE: "created",
    ChangeKind.MODIFY: "modified",
    ChangeKind.DELETE: "deleted",
    ChangeKind.CHMOD: "changed in mode",
    ChangeKind.SYMLINK: "linked",
    ChangeKind.MKDIR: "directory made",
    ChangeKind.RMDIR: "directory removed",
    ChangeKind.RETYPE: "changed in type",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A changeset in numbers."""

    counts: Mapping[ChangeKind, int]
    """Only kinds that occur, in the order of `ChangeKind`."""
    added: int
    removed: int
    uncounted: int
    """Files whose changed lines are in neither number: binary, or too large to compare."""

    @property
    def total(self) -> int:
        """Number of changed paths."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, JsonValue]:
        """Return the numbers."""
        return {
            "counts": {kind.value: count for kind, count in self.counts.items()},
            "added": self.added,
            "removed": self.removed,
            "uncounted": self.uncounted,
        }


def summarize(changeset: Changeset, diffs: Iterable[FileDiff]) -> Summary:
    """Count a changeset's kinds of changes and its changed lines."""
    found = Counter(change.kind for change in changeset.changes)
    known = tuple(diffs)
    return Summary(
        counts={kind: found[kind] for kind in ChangeKind if found[kind]},
        added=sum(diff.added for diff in known),
        removed=sum(diff.removed for diff in known),
        uncounted=sum(diff.body in {Body.BINARY, Body.TOO_LARGE} for diff in known),
    )


def summary_line(changeset: Changeset) -> str:
    """Return what changes in one line: "3 paths change: 2 modified, 1 deleted"."""
    if changeset.is_empty:
        return "no file changes"
    return f"{headline(summarize(changeset, ()))}: {kinds_text(changeset)}"


def headline(summary: Summary) -> str:
    """Return the number of changed paths in words."""
    return "1 path changes" if summary.total == 1 else f"{summary.total:,} paths change"


def kinds_text(changeset: Changeset) -> str:
    """Return how many paths changed in which way."""
    counts = summarize(changeset, ()).counts
    return ", ".join(f"{count:,} {_words(kind, count)}" for kind, count in counts.items())


def _words(kind: ChangeKind, count: int) -> str:
    return KIND_WORDS[kind] if count == 1 else KIND_WORDS[kind].replace("directory", "directories")
