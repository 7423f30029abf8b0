"""Walk the host's tree once: which entries may enter a guest, in which state they are now.

Never through a symbolic link and never into another file system: both would send what lies outside
of the workspace. What is left out is listed with its reason, because a guest that misses a file and
a user who wonders why both need to know.
"""

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from luminaguard.domain.changeset import EntryType
from luminaguard.errors import WorkspaceError, WorkspaceTooLarge
from luminaguard.workspace.confined import DIRECTORY_FLAGS, FILE_FLAGS, read_all
from luminaguard.workspace.manifest import Identity, Manifest, ManifestEntry
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.gitrules import MAX_RULES_BYTES, lines_of
from luminaguard.workspace.send.ignore import (
    VENV_MARKER,
    IgnoreRules,
    holds_host_binaries,
    is_reserved,
)
from luminaguard.workspace.send.secrets import secret_by_name, secret_directory

_MAX_DEPTH = 200
_MAX_PATH_BYTES = 4000
"""Below PATH_MAX (4096) with room for the workspace's own path. Source: limits.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanLimits:
    """How large a workspace may be."""

    files: int = 200_000
    size_bytes: int = 2 << 30


def scan(root: WorkspaceRoot, rules: IgnoreRules, limits: ScanLimits | None = None) -> Manifest:
    """List what may enter a guest, directories before their contents.

    The rules learn the tree's `.gitignore` files on the way. File contents are not read: imaging
    adds digests where a file changed too recently for its identity to be trusted.

    Raises:
        WorkspaceTooLarge: the tree exceeds its limits; the message names what takes the room.
        WorkspaceError: the tree cannot be read.
    """
    rules.forget()
    walk = _Walk(root, rules, limits or ScanLimits())
    try:
        fd = os.open(".", DIRECTORY_FLAGS, dir_fd=root.fd)
        walk.directory("", fd, is_ignored=False)
    except OSError as error:
        raise WorkspaceError(f"{root.path} cannot be read: {error.strerror}") from error
    return Manifest(walk.entries, walk.left_out)


@dataclass(slots=True)
class _Walk:
    root: WorkspaceRoot
    rules: IgnoreRules
    limits: ScanLimits
    entries: dict[str, ManifestEntry] = field(default_factory=dict[str, ManifestEntry])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    size_bytes: int = 0
    mounts: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.mounts = _mounts_below(str(self.root.path))

    def directory(self, path: str, fd: int, *, is_ignored: bool) -> None:
        """List one directory, then those in it; takes over `fd`."""
        try:
            prefix = f"{path}/" if path else ""
            with os.scandir(fd) as listing:
                found = sorted(listing, key=_name)
            names = {entry.name for entry in found}
            if path and VENV_MARKER in names:
                self._leave(path, "host binaries")
                return
            if ".gitignore" in names:
                self._learn(path, fd)
            below: list[tuple[str, str, bool]] = []
            for entry in found:
                child = prefix + entry.name
                reason = self._entry(child, entry, fd, below, is_ignored=is_ignored)
                if reason is not None:
                    self._leave(child, reason)
            for child, name, child_ignored in below:
                self._descend(child, name, fd, is_ignored=child_ignored)
        finally:
            os.close(fd)

    def _descend(self, path: str, name: str, parent_fd: int, *, is_ignored: bool) -> None:
        try:
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=parent_fd)
        except OSError:
            # Gone, swapped for a link, or closed to this user since it was listed.
            self._leave(path, "unreadable")
            return
        entries, left_out = len(self.entries), len(self.left_out)
        self.directory(path, fd, is_ignored=is_ignored)
        if is_ignored and len(self.entries) == entries:
            while len(self.left_out) > left_out:
                self.left_out.popitem()
            self._leave(path, "ignored")

    def _leave(self, path: str, reason: str) -> None:
        self.entries.pop(path, None)
        shown = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        self.left_out[shown] = reason

    def _learn(self, directory: str, fd: int) -> None:
        try:
            rules_fd = os.open(".gitignore", FILE_FLAGS, dir_fd=fd)
        except OSError:
            return
        try:
            status = os.fstat(rules_fd)
            if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_RULES_BYTES:
                self.rules.learn(directory, lines_of(read_all(rules_fd, status.st_size)))
        finally:
            os.close(rules_fd)

    def _entry(
        self,
        path: str,
        entry: os.DirEntry[str],
        fd: int,
        below: list[tuple[str, str, bool]],
        *,
        is_ignored: bool,
    ) -> str | None:
        """Take one entry in, or return why it stays behind."""
        unfit = _unfit(path, entry.name)
        if unfit is not None:
            return unfit
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return "unreadable"
        if status.st_dev != self.root.dev or path in self.mounts:
            return "mount point"
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            return self._file(path, status, is_ignored=is_ignored)
        if kind == stat.S_IFDIR:
            return self._folder(path, entry.name, status, below, is_ignored=is_ignored)
        if kind == stat.S_IFLNK:
            return self._link(path, entry.name, fd, status, is_ignored=is_ignored)
        return "special file"

    def _stays(self, path: str, *, is_ignored: bool) -> bool:
        """Tell whether the ignore rules keep a file or link on the host."""
        rules = self.rules
        if not is_ignored and not rules.is_ignored(path, is_directory=False):
            return False
        return not rules.is_tracked(path) and not rules.is_included(path)

    def _file(self, path: str, status: os.stat_result, *, is_ignored: bool) -> str | None:
        if not status.st_mode & stat.S_IRUSR:
            return "unreadable"
        kind = secret_by_name(path)
        if kind is not None and not self.rules.is_included(path):
            return f"secret: {kind}"
        if self._stays(path, is_ignored=is_ignored):
            return "ignored"
        self.size_bytes += status.st_size
        self._add(path, EntryType.FILE, status)
        return None

    def _folder(
        self,
        path: str,
        name: str,
        status: os.stat_result,
        below: list[tuple[str, str, bool]],
        *,
        is_ignored: bool,
    ) -> str | None:
        if status.st_mode & 0o500 != 0o500:
            return "unreadable"
        if holds_host_binaries(name):
            return "host binaries"
        rules = self.rules
        if secret_directory(name) and not rules.is_included(path, is_directory=True):
            return "secret: credentials"
        if path.count("/") >= _MAX_DEPTH:
            return "nested too deeply"
        ignored = is_ignored or rules.is_ignored(path, is_directory=True)
        if ignored and not rules.has_includes and not rules.is_tracked(path):
            return "ignored"
        self._add(path, EntryType.DIRECTORY, status)
        below.append((path, name, ignored))
        return None

    def _link(
        self, path: str, name: str, fd: int, status: os.stat_result, *, is_ignored: bool
    ) -> str | None:
        if self._stays(path, is_ignored=is_ignored):
            return "ignored"
        try:
            target = os.readlink(name, dir_fd=fd)
        except OSError:
            return "unreadable"
        if not _is_utf8(target):
            return "link target is not UTF-8"
        self._add(path, EntryType.SYMLINK, status, target)
        return None

    def _add(
        self, path: str, kind: EntryType, status: os.stat_result, target: str | None = None
    ) -> None:
        mode = 0o777 if target is not None else status.st_mode & 0o777
        self.entries[path] = ManifestEntry(
            type=kind, mode=mode, identity=Identity.of(status), target=target
        )
        if len(self.entries) > self.limits.files or self.size_bytes > self.limits.size_bytes:
            raise _too_large(self.entries, self.size_bytes, self.limits)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _unfit(path: str, name: str) -> str | None:
    """Return why an entry of this name cannot be carried, or None."""
    if not name.isascii() and not _is_utf8(name):
        return "name is not UTF-8"
    if len(path) * 4 > _MAX_PATH_BYTES and len(path.encode()) > _MAX_PATH_BYTES:
        return "path too long"
    return "reserved for LuminaGuard" if is_reserved(name) else None


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_large(
    entries: dict[str, ManifestEntry], size_bytes: int, limits: ScanLimits
) -> WorkspaceTooLarge:
    by_files = len(entries) > limits.files
    weights: dict[str, int] = {}
    for path, entry in entries.items():
        folder = "/".join(path.split("/")[:2]) if path.count("/") > 1 else path.partition("/")[0]
        weights[folder] = weights.get(folder, 0) + (1 if by_files else entry.identity.size)
    biggest = sorted(weights, key=lambda folder: -weights[folder])[:5]
    unit = "entries" if by_files else "MiB"
    scale = 1 if by_files else 1 << 20
    listed = ", ".join(f"{folder} ({weights[folder] // scale:,} {unit})" for folder in biggest)
    cap = f"{limits.files:,} entries" if by_files else f"{limits.size_bytes / (1 << 30):g} GiB"
    return WorkspaceTooLarge(
        f"the workspace holds more than {cap}; most so far: {listed}",
        hint="add the largest to .gitignore, choose a smaller tree with -w, "
        "or raise workspace.max_files and workspace.max_bytes in the configuration",
        entries=len(entries),
        size_bytes=size_bytes,
    )


def _mounts_below(root: str) -> frozenset[str]:
    """Return the relative paths of mount points in the tree: bind mounts share the device number.

    Source: proc_pid_mountinfo(5); field 5 is the mount point, blanks as octal escapes.
    """
    if sys.platform != "linux":
        return frozenset()
    prefix = root.rstrip("/") + "/"
    found: set[str] = set()
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                point = _unescape(line.split(" ", 5)[4])
                if point.startswith(prefix):
                    found.add(point[len(prefix) :])
    except OSError:
        return frozenset()
    return frozenset(found)


def _unescape(text: str) -> str:
    parts: Sequence[str] = text.split("\\")
    return parts[0] + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts[1:])
