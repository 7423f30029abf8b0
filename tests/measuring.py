"""Workspaces for tests: make a tree, send it, let something change it, measure that."""

import os
import shutil
import stat
import subprocess
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from luminaguard.domain import harvest as records
from luminaguard.domain.changeset import Change, Changeset, EntryType
from luminaguard.workspace.base import Base
from luminaguard.workspace.manifest import Identity, Manifest
from luminaguard.workspace.measure.harvest import Measurement
from luminaguard.workspace.measure.upper import HarvestLimits
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.gitrules import read_rules
from luminaguard.workspace.send.ignore import IgnoreRules
from luminaguard.workspace.send.imaging import build_image
from luminaguard.workspace.send.scan import scan
from luminaguard.workspace.spool import Spool

Shape = tuple[str, int, bytes]
"""Type, mode, and content or link target."""


def make_tree(directory: Path, content: Mapping[str, str | bytes | None]) -> Path:
    """Make files from path → text or bytes; a path that ends in "/" is a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in content.items():
        place = directory / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text or b"")
    return directory


def shape_of(directory: Path) -> dict[str, Shape]:
    """Return the whole tree: path → type, mode, and content or target."""
    found: dict[str, Shape] = {}
    for parent, folders, files in os.walk(directory):
        for name in [*folders, *files]:
            place = Path(parent) / name
            status = place.lstat()
            mode = status.st_mode & 0o7777
            path = str(place.relative_to(directory))
            if stat.S_ISLNK(status.st_mode):
                found[path] = ("symlink", 0o777, os.fsencode(os.readlink(place)))
            elif stat.S_ISDIR(status.st_mode):
                found[path] = ("directory", mode, b"")
            elif stat.S_ISREG(status.st_mode):
                found[path] = ("file", mode, place.read_bytes())
            else:
                found[path] = ("special", mode, b"")
    return found


class Sent:
    """A workspace that was sent into a guest, and is measured against."""

    def __init__(
        self,
        directory: Path,
        scratch: Path,
        *,
        include: Sequence[str] = (),
        rules: IgnoreRules | None = None,
    ) -> None:
        self.directory = directory
        self._scratch = scratch
        self.root = WorkspaceRoot.open(directory)
        self.rules = rules or read_rules(self.root, include=include, global_lines=[])
        listed = scan(self.root, self.rules)
        self.image = build_image(self.root, listed, scratch, rules=self.rules)
        self.base = Base(image=self.image.manifest)
        self.spools: list[Spool] = []

    def forget_digests(self) -> None:
        """Make the tree look long unchanged: imaging takes digests only of recent files."""
        held = self.base.image.entries
        entries = {path: replace(entry, sha256=None) for path, entry in held.items()}
        self.base = Base(image=Manifest(entries, self.base.image.left_out))

    def measurement(
        self, *, limits: HarvestLimits | None = None, quota_bytes: int = 1 << 28
    ) -> Measurement:
        spool = Spool(self._scratch / f"spool{len(self.spools)}", quota_bytes=quota_bytes)
        self.spools.append(spool)
        return Measurement(
            root=self.root, base=self.base, rules=self.rules, spool=spool, limits=limits
        )

    @property
    def spool(self) -> Spool:
        return self.spools[-1]

    def measure(
        self, stream: Iterable[records.UpperRecord], *, limits: HarvestLimits | None = None
    ) -> Changeset:
        measurement = self.measurement(limits=limits)
        for record in stream:
            measurement.add(record)
        return measurement.finish()

    def bytes_of(self, change: Change) -> bytes:
        assert change.after is not None
        assert change.after.sha256 is not None
        return self.spool.path(change.after.sha256).read_bytes()

    def settle(self, changeset: Changeset) -> None:
        """Do what a commit does, plainly, and go on from there."""
        apply(changeset, self.directory, self.spool)
        identities = {
            change.path: Identity.of((self.directory / change.path).lstat())
            for change in changeset.changes
            if change.after is not None
        }
        self.base = self.base.after_commit(changeset, identities)

    def close(self) -> None:
        self.image.close()
        self.root.close()
        for spool in self.spools:
            spool.close()


@contextmanager
def sent(directory: Path, scratch: Path, **options: object) -> Generator[Sent]:
    """Send a workspace, and clean up."""
    one = Sent(directory, scratch, **options)  # type: ignore[arg-type]
    try:
        yield one
    finally:
        one.close()


def apply(changeset: Changeset, directory: Path, spool: Spool) -> None:
    """Make a directory what a changeset says: deletions from below first, then the rest."""
    for change in reversed(changeset.changes):
        place = directory / change.path
        is_going = change.after is None or (
            change.before is not None and change.before.type is not change.after.type
        )
        if change.before is not None and is_going:
            if change.before.type is EntryType.DIRECTORY:
                place.rmdir()
            else:
                place.unlink()
    for change in changeset.changes:
        if change.after is not None:
            _put(directory / change.path, change, spool)
    for change in reversed(changeset.changes):
        if change.after is not None and change.after.type is EntryType.DIRECTORY:
            (directory / change.path).chmod(change.after.mode)


def _put(place: Path, change: Change, spool: Spool) -> None:
    after = change.after
    assert after is not None
    if after.type is EntryType.DIRECTORY:
        place.mkdir(exist_ok=True)
    elif after.type is EntryType.SYMLINK:
        place.unlink(missing_ok=True)
        place.symlink_to(after.target or "")
    else:
        if change.before is None or change.before.sha256 != after.sha256:
            place.unlink(missing_ok=True)
            place.write_bytes(spool.path(after.sha256 or "").read_bytes())
        place.chmod(after.mode)


def stream_of(upper: Path) -> list[records.UpperRecord]:
    """Read an upper layer as the guest agent does, as the records that the channel would give."""
    from luminaguard_guest.overlay import harvest

    found: list[records.UpperRecord] = []
    for message in harvest(str(upper)):
        kind = getattr(records, type(message).__name__)
        found.append(kind(*(getattr(message, name) for name in kind.__slots__)))
    return found


@contextmanager
def overlay(base: Path, scratch: Path) -> Generator[tuple[Path, Path]]:
    """Mount an overlay over a frozen copy of `base` as a guest would; give (merged, upper)."""
    lower, upper, work, merged = (scratch / name for name in ("lower", "upper", "work", "merged"))
    shutil.copytree(base, lower, symlinks=True)
    for one in (upper, work, merged):
        one.mkdir()
    options = (
        f"lowerdir={lower},upperdir={upper},workdir={work},"
        "index=off,metacopy=off,redirect_dir=on,xino=off"
    )
    subprocess.run(["mount", "-t", "overlay", "-o", options, "luminaguard", merged], check=True)
    try:
        yield merged, upper
    finally:
        subprocess.run(["umount", merged], check=True)
