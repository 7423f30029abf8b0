"""Measure what a guest did: from its claimed upper layer to a changeset that can be approved.

Everything the guest says is checked against the manifest of what it was sent, and what it says
about content is bytes that were received and hashed here. A change that cannot be carried
faithfully, or that would touch what the user changed meanwhile, ends the measurement: nobody is
asked about something that could not be committed as shown.
"""

from dataclasses import dataclass, field

from luminaguard.domain.changeset import (
    Change,
    ChangeKind,
    Changeset,
    Entry,
    EntryType,
    Scratch,
)
from luminaguard.domain.harvest import UpperRecord
from luminaguard.errors import ChangesetConflict, Unrepresentable
from luminaguard.workspace.base import Base
from luminaguard.workspace.manifest import ManifestEntry
from luminaguard.workspace.measure.collisions import check_collisions
from luminaguard.workspace.measure.hostside import HostSide, conflict
from luminaguard.workspace.measure.marks import marks_of
from luminaguard.workspace.measure.overlay import FromImage, MergedTree, Sight
from luminaguard.workspace.measure.upper import (
    MAX_PATH_BYTES,
    HarvestLimits,
    UpperNode,
    UpperReceiver,
    UpperType,
)
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.ignore import IgnoreRules
from luminaguard.workspace.spool import Spool

_SCRATCH_EXAMPLES = 5
_CONFLICTS_NAMED = 5


class Measurement:
    """One harvest: feed it every record, then ask for the changeset.

    Blocking: it writes the spool and reads the host's files. Not reusable.
    """

    def __init__(
        self,
        *,
        root: WorkspaceRoot,
        base: Base,
        rules: IgnoreRules,
        spool: Spool,
        limits: HarvestLimits | None = None,
    ) -> None:
        """Prepare to measure against `base`, contents going into `spool`."""
        self._root = root
        self._base = base
        self._rules = rules
        self._spool = spool
        self._limits = limits or HarvestLimits()
        self._receiver = UpperReceiver(spool, self._limits, self._is_scratch)

    def add(self, record: UpperRecord) -> None:
        """Take in the next record of the stream.

        Raises:
            HostileStream: it breaks the rules of a stream.
            Unrepresentable: its name cannot be carried.
            WorkspaceTooLarge: a limit is exceeded.
        """
        try:
            self._receiver.add(record)
        except BaseException:
            self._receiver.abandon()
            raise

    def finish(self) -> Changeset:
        """Return what changed, sorted by path.

        Raises:
            HostileStream: the layer makes no sense over what was sent.
            Unrepresentable: a change cannot be carried faithfully.
            ChangesetConflict: it touches what changed on the host since.
            WorkspaceTooLarge: a limit is exceeded.
        """
        upper = self._receiver.finish()
        merged = MergedTree(upper, self._base, max_entries=self._limits.entries)
        with HostSide(self._root, self._base) as host:
            comparison = _Comparison(
                base=self._base, rules=self._rules, spool=self._spool, host=host, merged=merged
            )
            for path in sorted(merged.candidates()):
                comparison.take(path)
            return comparison.changeset()

    def abandon(self) -> None:
        """Forget a half-received file; the spool is the caller's to close."""
        self._receiver.abandon()

    def _is_scratch(self, path: str) -> bool:
        return self._base.get(path) is None and self._rules.is_scratch(path, is_directory=False)


@dataclass(slots=True, kw_only=True)
class _Comparison:
    """The merged tree against the base, path by path."""

    base: Base
    rules: IgnoreRules
    spool: Spool
    host: HostSide
    merged: MergedTree
    changes: dict[str, Change] = field(default_factory=dict[str, Change])
    conflicts: list[ChangesetConflict] = field(default_factory=list[ChangesetConflict])
    dropped: list[str] = field(default_factory=list[str])
    scratch: list[str] = field(default_factory=list[str])
    scratch_bytes: int = 0

    def take(self, path: str) -> None:
        """Compare one path, noting its change."""
        held = self.base.get(path)
        sight = self.merged.look(path)
        if _shows_base(path, held, sight, self.base):
            return
        if held is None and self.rules.is_scratch(path, is_directory=_is_directory(sight)):
            self._count_scratch(path, sight)
            return
        _check_name(path)
        if isinstance(sight, UpperNode) and sight.type is UpperType.SPECIAL:
            if held is not None:
                raise Unrepresentable(f"{path}: became a socket or FIFO in the guest")
            self.dropped.append(path)
            return
        try:
            change = self._change(path, held, sight)
            if change is not None:
                self._check_host(change)
                self.changes[path] = change
        except ChangesetConflict as error:
            self.conflicts.append(error)

    def changeset(self) -> Changeset:
        """Return the result, or raise what speaks against it."""
        self._add_parents()
        if self.conflicts:
            raise _all(self.conflicts)
        check_collisions(self.changes, self.base, self.host)
        return Changeset(
            base=self.base.digest,
            changes=tuple(self.changes[path] for path in sorted(self.changes)),
            scratch=Scratch(
                files=len(self.scratch),
                size_bytes=self.scratch_bytes,
                examples=tuple(map(_printable, self.scratch[:_SCRATCH_EXAMPLES])),
            ),
            dropped=tuple(self.dropped),
        )

    def _change(self, path: str, held: ManifestEntry | None, sight: Sight) -> Change | None:
        if (held is not None and held.substituted) or _is_substituted(sight):
            self._check_substituted(path, held, sight)
            return None
        after = self._after(held, sight)
        if held is None:
            return self._noted(path, None, after, sight)
        is_same_kind = after is not None and after.type is held.type
        if is_same_kind and after == held.entry(held.sha256):
            return None
        before = self.host.entry(path, held)
        return None if before == after else self._noted(path, before, after, sight)

    def _after(self, held: ManifestEntry | None, sight: Sight) -> Entry | None:
        if sight is None:
            return None
        if isinstance(sight, UpperNode):
            return _entry_of(sight)
        entry = sight.entry
        if entry.type is not EntryType.FILE:
            return entry.entry()
        is_settled = held is not None and held.sha256 is not None and held.sha256 == entry.sha256
        return entry.entry(
            entry.sha256 if is_settled else self.host.take(sight.source, entry, self.spool)
        )

    def _noted(
        self, path: str, before: Entry | None, after: Entry | None, sight: Sight
    ) -> Change | None:
        if before is None and after is None:
            return None
        change = Change(path=path, kind=_kind(before, after), before=before, after=after)
        had_special_bits = isinstance(sight, UpperNode) and sight.had_special_bits
        marks = marks_of(change, had_special_bits=had_special_bits)
        return Change(path=path, kind=change.kind, before=before, after=after, marks=marks)

    def _check_host(self, change: Change) -> None:
        """Refuse what would meet something on the host that the session never saw."""
        path, before, after = change.path, change.before, change.after
        if before is None and self.host.exists(path):
            reason = self.base.image.left_out.get(path)
            raise conflict(path, f"exists on your side and was left out ({reason or 'made since'})")
        was_directory = before is not None and before.type is EntryType.DIRECTORY
        if was_directory and (after is None or after.type is not EntryType.DIRECTORY):
            unlisted = self.host.unlisted(path)
            if unlisted:
                raise conflict(
                    unlisted[0],
                    f"lies in {path}, which the guest deleted, and was not sent to it",
                )

    def _check_substituted(self, path: str, held: ManifestEntry | None, sight: Sight) -> None:
        """Let a file with cut-out credentials stand only where nothing happened to it."""
        is_untouched = (
            held is not None
            and isinstance(sight, UpperNode)
            and sight.type is UpperType.FILE
            and sight.mode == held.mode
            and sight.sha256 == self.host.redacted_digest(path, held)
        )
        if not is_untouched:
            raise Unrepresentable(
                f"{path}: the guest had it without the credentials in it, so its change cannot be "
                "carried over",
                hint="keep credentials out of the file (git credential helpers), or change it "
                "yourself",
            )

    def _count_scratch(self, path: str, sight: Sight) -> None:
        if _is_directory(sight) or sight is None:
            return
        self.scratch.append(path)
        if isinstance(sight, UpperNode):
            self.scratch_bytes += sight.size
        else:
            self.scratch_bytes += sight.entry.entry().size

    def _add_parents(self) -> None:
        """Make the directories of included files that lie in directories nobody asked for."""
        for path in list(self.changes):
            if self.changes[path].after is None:
                continue
            parent = path.rpartition("/")[0]
            while parent and self.base.get(parent) is None and parent not in self.changes:
                change = self._change(parent, None, self.merged.look(parent))
                if change is None:
                    break
                self._check_host(change)
                self.changes[parent] = change
                parent = parent.rpartition("/")[0]


def _shows_base(path: str, held: ManifestEntry | None, sight: Sight, base: Base) -> bool:
    """Tell whether nothing happened to a path, without reading anything."""
    if held is None and sight is None:
        return True
    return isinstance(sight, FromImage) and sight.source == path and path not in base.settled


def _is_directory(sight: Sight) -> bool:
    if isinstance(sight, UpperNode):
        return sight.type is UpperType.DIRECTORY
    return sight is not None and sight.entry.type is EntryType.DIRECTORY


def _is_substituted(sight: Sight) -> bool:
    return isinstance(sight, FromImage) and sight.entry.substituted


def _entry_of(node: UpperNode) -> Entry:
    if node.type is UpperType.FILE:
        return Entry(type=EntryType.FILE, mode=node.mode, size=node.size, sha256=node.sha256)
    if node.type is UpperType.SYMLINK:
        target = node.target or ""
        if not _is_utf8(target):
            raise Unrepresentable(f"{node.path}: points to a path that is not UTF-8")
        return Entry(type=EntryType.SYMLINK, mode=0o777, target=target)
    return Entry(type=EntryType.DIRECTORY, mode=node.mode)


def _kind(before: Entry | None, after: Entry | None) -> ChangeKind:
    if after is None:
        was_directory = before is not None and before.type is EntryType.DIRECTORY
        return ChangeKind.RMDIR if was_directory else ChangeKind.DELETE
    if before is not None and before.type is not after.type:
        return ChangeKind.RETYPE
    if after.type is EntryType.SYMLINK:
        return ChangeKind.SYMLINK
    if before is None:
        is_file = after.type is EntryType.FILE
        return ChangeKind.CREATE if is_file else ChangeKind.MKDIR
    return ChangeKind.MODIFY if before.sha256 != after.sha256 else ChangeKind.CHMOD


def _check_name(path: str) -> None:
    if not _is_utf8(path):
        raise Unrepresentable(
            f"{_printable(path)}: a name that is not UTF-8",
            hint="let the command use names in UTF-8",
        )
    if len(path) * 4 > MAX_PATH_BYTES and len(path.encode()) > MAX_PATH_BYTES:
        raise Unrepresentable(f"{path[:80]}...: a path of more than {MAX_PATH_BYTES} bytes")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _all(conflicts: list[ChangesetConflict]) -> ChangesetConflict:
    if len(conflicts) == 1:
        return conflicts[0]
    named = "; ".join(str(error) for error in conflicts[:_CONFLICTS_NAMED])
    more = len(conflicts) - _CONFLICTS_NAMED
    return ChangesetConflict(
        f"{len(conflicts)} paths are in the way: {named}" + (f"; {more} more" if more > 0 else ""),
        hint=conflicts[0].hint,
        paths=tuple(path for error in conflicts for path in _paths(error)),
    )


def _paths(error: ChangesetConflict) -> tuple[str, ...]:
    paths = error.context.get("paths")
    return paths if isinstance(paths, tuple) else ()  # pyright: ignore[reportUnknownVariableType]
