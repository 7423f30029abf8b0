"""What a commit will do, step by step: a pure function of the changeset.

Each step moves one path from `before` to `after` with one atomic operation, and can be taken back
with one. Whatever comes out of the tree goes into the step's slot of the staging directory, which
is where its new content lay before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.changeset import Change, Changeset, Entry, EntryType
from luminaguard.errors import Unrepresentable

RESERVED = ".luminaguard"
"""No name that begins so is ever sent into a guest or taken from one."""

_OWNER_ALL = 0o700

_FIRST, _REMOVALS, _MIDDLE, _LAST = range(4)


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
    rank: "_Rank" = field(default=(0, 0, ""), compare=False)
    """Place in the order; of no meaning once the steps are in order."""

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

    @property
    def opens(self) -> bool:
        """Whether it lets its owner into a directory, so that taking it back shuts them out."""
        return self.action is Action.CHMOD and self.before is not None and _shuts(self.before)

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

    Directories that their owner could not write in are opened first and shut last, so that
    everything between may write in them; what is deleted goes, deepest first, before anything takes
    its place.

    Raises:
        Unrepresentable: a path or an entry may not be committed.
    """
    for change in changeset.changes:
        _check(change)
    _check_unique(change.path for change in changeset.changes)
    return _numbered([draft for change in changeset.changes for draft in _drafts(change)])


def with_opened(steps: tuple[Step, ...], modes: Mapping[str, int]) -> tuple[Step, ...]:
    """Return the steps, with those added that open and shut directories they have to work in.

    Args:
        steps: What `plan` returned.
        modes: Path → mode of each directory that is there before and that the steps work in.
    """
    planned = {step.path for step in steps}
    drafts: list[_Draft] = []
    for path, mode in modes.items():
        entry = Entry(type=EntryType.DIRECTORY, mode=mode & 0o777)
        if path and path not in planned and _shuts(entry):
            drafts += _chmod_directory(path, entry, entry)
    if not drafts:
        return steps
    return _numbered([*drafts, *((s.rank, s.path, s.action, s.before, s.after) for s in steps)])


_Rank = tuple[int, int, str]
_Draft = tuple[_Rank, str, Action, Entry | None, Entry | None]


def _numbered(drafts: list[_Draft]) -> tuple[Step, ...]:
    drafts.sort(key=lambda draft: draft[0])
    return tuple(
        Step(slot=f"{index:06d}", rank=rank, path=path, action=action, before=before, after=after)
        for index, (rank, path, action, before, after) in enumerate(drafts)
    )


def _drafts(change: Change) -> list[_Draft]:
    path, before, after = change.path, change.before, change.after
    if before is not None and after is not None and _same_content(before, after):
        if after.type is EntryType.DIRECTORY:
            return _chmod_directory(path, before, after)
        return [(_downward(_MIDDLE, path), path, Action.CHMOD, before, after)]
    drafts: list[_Draft] = []
    if before is not None and _shuts(before):
        drafts.append((_downward(_FIRST, path), path, Action.CHMOD, before, _open(before)))
        before = _open(before)
    if after is None:
        return [*drafts, (_upward(_REMOVALS, path), path, Action.REMOVE, before, None)]
    action = Action.PLACE if before is None else Action.REPLACE
    drafts.append((_downward(_MIDDLE, path), path, action, before, _open(after)))
    if _shuts(after):
        drafts.append((_upward(_LAST, path), path, Action.CHMOD, _open(after), after))
    return drafts


def _chmod_directory(path: str, before: Entry, after: Entry) -> list[_Draft]:
    """Return the steps that set a directory's mode, open to its owner in between."""
    drafts: list[_Draft] = []
    if before != _open(after):
        drafts.append((_downward(_FIRST, path), path, Action.CHMOD, before, _open(after)))
    if _shuts(after):
        drafts.append((_upward(_LAST, path), path, Action.CHMOD, _open(after), after))
    return drafts


def _open(entry: Entry) -> Entry:
    """Return a directory as it is while it is worked in; anything else as it is."""
    return replace(entry, mode=entry.mode | _OWNER_ALL) if _shuts(entry) else entry


def _shuts(after: Entry) -> bool:
    """Whether it is a directory that its owner may not fully use."""
    return after.type is EntryType.DIRECTORY and after.mode & _OWNER_ALL != _OWNER_ALL


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
