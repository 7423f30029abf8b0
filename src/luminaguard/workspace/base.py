"""The settled state of a session: what the host's tree is, as far as this session knows.

After an approved commit the same machine goes on, over the same image; its upper layer still holds
everything that was committed. So two views are kept apart: the `image` is what lies under the
guest's overlay for as long as the machine lives, and `settled` says which paths the host has in
another state since, because they were committed. Changes are always measured against the two
together.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256

from luminaguard.domain.changeset import Changeset, Entry, EntryType
from luminaguard.workspace.manifest import Identity, Manifest, ManifestEntry, fingerprint


@dataclass(frozen=True, kw_only=True)
class Base:
    """What the next changes are against: an image, and what was committed since it was made."""

    image: Manifest
    settled: Mapping[str, ManifestEntry | None] = field(
        default_factory=dict[str, ManifestEntry | None]
    )
    """Path → its state since a commit; None where it was deleted."""
    known: Mapping[str, str] = field(default_factory=dict[str, str])
    """Path in the image → its content's SHA-256, where it was found out after imaging."""

    def get(self, path: str) -> ManifestEntry | None:
        """Return what the host should have at `path`, or None."""
        if path in self.settled:
            return self.settled[path]
        return self.image.entries.get(path)

    def imaged(self, path: str) -> ManifestEntry | None:
        """Return what the guest's lower layer has at `path`, its digest filled in where known."""
        held = self.image.entries.get(path)
        if held is not None and held.sha256 is None and path in self.known:
            return held.with_sha256(self.known[path])
        return held

    @cached_property
    def tree(self) -> dict[str, frozenset[str]]:
        """Directory path → names of the listed entries in it, settled changes included."""
        return index(path for path, _ in self.items())

    @cached_property
    def image_tree(self) -> dict[str, frozenset[str]]:
        """Directory path → names of the image's entries in it."""
        return index(self.image.entries)

    def items(self) -> Iterator[tuple[str, ManifestEntry]]:
        """Yield every path that the host should have."""
        for path, held in self.image.entries.items():
            if path not in self.settled:
                yield path, held
        for path, settled in self.settled.items():
            if settled is not None:
                yield path, settled

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole base, hexadecimal: part of every changeset's digest."""
        running = sha256(self.image.digest.encode())
        for path, held in sorted(self.settled.items()):
            running.update(fingerprint(path, held) if held else f"{path}\0\n".encode())
        return running.hexdigest()

    def after_commit(self, changeset: Changeset, identities: Mapping[str, Identity]) -> "Base":
        """Return the base once `changeset` is on the host.

        Args:
            changeset: What was committed.
            identities: Path → the host entry's identity right after, for each path that was made or
                changed. Without one the path's identity is unknown: it will read as moved.
        """
        settled = dict(self.settled)
        known = dict(self.known)
        for change in changeset.changes:
            before = change.before
            if before and before.sha256 and change.path not in self.settled:
                known[change.path] = before.sha256
            settled[change.path] = (
                None
                if change.after is None
                else _settled(change.after, identities.get(change.path))
            )
        return replace(self, settled=settled, known=known)


def index(paths: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return directory path → names in it, of all `paths`."""
    found: dict[str, set[str]] = {}
    for path in paths:
        parent, _, name = path.rpartition("/")
        found.setdefault(parent, set()).add(name)
    return {parent: frozenset(names) for parent, names in found.items()}


_NOWHERE = Identity(dev=0, ino=0, size=0, mtime_ns=0, ctime_ns=0)


def _settled(after: Entry, identity: Identity | None) -> ManifestEntry:
    mark = identity or _NOWHERE
    if after.type is EntryType.FILE:
        mark = replace(mark, size=after.size)
    return ManifestEntry(
        type=after.type, mode=after.mode, identity=mark, target=after.target, sha256=after.sha256
    )
