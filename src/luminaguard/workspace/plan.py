"""What a commit will do, step by step: a pure function of the changeset.

Each step moves one path from `before` to `after` with one atomic operation, and can be taken back
with one. Whatever comes out of the tree goes into the step's slot of the staging directory, which
is where its new content lay before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.changeset import Change, Changeset, Entry, EntryType
from luminaguard.errors import Unrepresentable

RESERVED = ".luminaguard"
"""No name that begins so is ever sent into a guest or taken from one."""

_OWNER_ALL = 0o700


class Action(StrEnum):
    """How a step is done."""

    PLACE = "place"
    """Rename out of the slot, to a name that must be free."""
    REPLACE = "replace"
    """Exchange with the slot."""
    REMOVE = "remove"
    """Rename into the slot."""
    CHMOD = "chmod"
    """Set the mode in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One path's way from `before` to `after`."""

    slot: str
    """Name in the staging directory."""
    path: str
    action: Action
    before: Entry | None
    after: Entry | None

    @property
    def parent(self) -> str:
        """Path of the directory that holds it; "" for the root."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Last component of the path."""
        return self.path.rpartition("/")[2]

    @property
    def is_last(self) -> bool:
        """Whether it shuts its owner out of a directory, and so must wait for all other steps."""
        return self.action is Action.CHMOD and self.after is not None and _shuts(self.after)

    def as_json(self) -> dict[str, JsonValue]:
        """Return the journaled form."""
        return {
            "slot": self.slot,
            "path": self.path,
            "action": self.action.value,
            "before": self.before.as_json() if self.before else None,
            "after": self.after.as_json() if self.after else None,
        }


def plan(changeset: Changeset) -> tuple[Step, ...]:
    """Return the steps in the order in which they are to be done.

    Directories that get wider permissions come first and those that get narrower ones last, so
    that everything between may write in them; what is deleted goes, deepest first, before anything
    takes its place.

    Raises:
        Unrepresentable: a path or an entry may not be committed.
    """
    for change in changeset.changes:
        _check(change)
    _check_unique(change.path for change in changeset.changes)
    drafts = [draft for change in changeset.changes for draft in _drafts(change)]
    drafts.sort(key=lambda draft: draft[0])
    return tuple(
        Step(slot=f"{index:06d}", path=path, action=action, before=before, after=after)
        for index, (_, path, action, before, after) in enumerate(drafts)
    )


_Rank = tuple[int, int, str]
_Draft = tuple[_Rank, str, Action, Entry | None, Entry | None]


def _drafts(change: Change) -> list[_Draft]:
    path, before, after = change.path, change.before, change.after
    if after is None:
        return [(_upward(1, path), path, Action.REMOVE, before, None)]
    if before is not None and _same_content(before, after):
        rank = _upward(3, path) if _shuts(after) else _downward(_early(after), path)
        return [(rank, path, Action.CHMOD, before, after)]
    action = Action.PLACE if before is None else Action.REPLACE
    if not _shuts(after):
        return [(_downward(2, path), path, action, before, after)]
    wide = Entry(type=after.type, mode=after.mode | _OWNER_ALL)
    return [
        (_downward(2, path), path, action, before, wide),
        (_upward(3, path), path, Action.CHMOD, wide, after),
    ]


def _shuts(after: Entry) -> bool:
    """Whether it is a directory that its owner may not fully use."""
    return after.type is EntryType.DIRECTORY and after.mode & _OWNER_ALL != _OWNER_ALL


def _early(after: Entry) -> int:
    return 0 if after.type is EntryType.DIRECTORY else 2


def _same_content(before: Entry, after: Entry) -> bool:
    """Whether only the mode differs."""
    return (before.type, before.size, before.sha256, before.target) == (
        after.type,
        after.size,
        after.sha256,
        after.target,
    ) and after.type is not EntryType.SYMLINK


def _downward(stage: int, path: str) -> _Rank:
    """Parents before children."""
    return stage, path.count("/"), path


def _upward(stage: int, path: str) -> _Rank:
    """Children before parents."""
    return stage, -path.count("/"), path


def _check(change: Change) -> None:
    """Refuse what no measured changeset holds; the harvest refused it before."""
    parts = change.path.split("/")
    if "\0" in change.path or any(part in {"", ".", ".."} for part in parts):
        raise Unrepresentable(f"{change.path!r} is not a path inside the workspace")
    if any(part.startswith(RESERVED) for part in parts):
        raise Unrepresentable(f"{change.path!r} is a reserved name")
    if change.before is None and change.after is None:
        raise Unrepresentable(f"{change.path!r} neither was nor will be")
    for entry in (change.before, change.after):
        if entry is not None:
            _check_entry(change.path, entry)


def _check_entry(path: str, entry: Entry) -> None:
    if entry.mode & ~0o777:
        raise Unrepresentable(f"{path!r} has mode bits that may not leave a guest")
    if entry.type is EntryType.FILE and entry.sha256 is None:
        raise Unrepresentable(f"the content of {path!r} was not measured")
    if entry.type is EntryType.SYMLINK and (not entry.target or "\0" in entry.target):
        raise Unrepresentable(f"the symbolic link {path!r} points nowhere")


def _check_unique(paths: Iterable[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise Unrepresentable(f"{path!r} changes twice")
        seen.add(path)
