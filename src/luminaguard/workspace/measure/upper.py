"""Receive a guest's upper layer, believing nothing.

The records are claims of a guest that may be under an attacker's full control. Here they are held
against the rules of a stream: names that could leave the tree, entries without an announced parent,
duplicates, bytes where none were announced. What passes is a tree of nodes that is well formed, and
still only a claim about content; `overlay` and `harvest` work out what it means.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSpecial,
    UpperSymlink,
    Whiteout,
)
from luminaguard.errors import HostileStream, Unrepresentable, WorkspaceTooLarge
from luminaguard.workspace.send.ignore import is_reserved
from luminaguard.workspace.spool import Spool, SpoolFile

MAX_PATH_BYTES = 4000
"""Below PATH_MAX (4096), with room for the workspace's own path. Source: limits.h."""
MAX_NAME_BYTES = 255
"""NAME_MAX. Source: limits.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestLimits:
    """How much a guest may hand over in one harvest."""

    entries: int = 200_000
    size_bytes: int = 2 << 30
    """Logical size of all files together, holes counted."""
    depth: int = 200
    runs: int = 4_000_000
    """Runs of file bytes: bounds the work that a stream of tiny ones makes."""


class UpperType(StrEnum):
    """What an upper layer holds at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    WHITEOUT = "whiteout"
    SPECIAL = "special"


@dataclass(slots=True, kw_only=True)
class UpperNode:
    """One entry of the upper layer."""

    type: UpperType
    path: str
    """Exactly as received; bytes that are not UTF-8 are kept as surrogates."""
    mode: int = 0
    """At most 0o777: set-id and sticky bits never leave the guest."""
    had_special_bits: bool = False
    size: int = 0
    sha256: str | None = None
    """Of a file's bytes in the spool; None for scratch, whose bytes are not kept."""
    target: str | None = None
    opaque: bool = False
    redirect: str | None = None
    children: dict[str, "UpperNode"] = field(default_factory=dict[str, "UpperNode"])


class UpperReceiver:
    """Build the tree of an upper layer from its records."""

    def __init__(
        self, spool: Spool, limits: HarvestLimits, is_scratch: Callable[[str], bool]
    ) -> None:
        """Begin; contents go into `spool`, except those of paths that `is_scratch` picks out."""
        self._spool = spool
        self._is_scratch = is_scratch
        self._limits = limits
        self.root = UpperNode(type=UpperType.DIRECTORY, path="", mode=0o755)
        self._directories = {b"": self.root}
        self._count = 0
        self._size_bytes = 0
        self._runs = 0
        self._open: SpoolFile | None = None
        self._file: UpperNode | None = None
        self._next_offset = 0
        self._root_seen = False

    def add(self, record: UpperRecord) -> None:
        """Take in one record; of scratch, the bytes are counted and dropped.

        Raises:
            HostileStream: it breaks the rules of a stream.
            Unrepresentable: it is well formed, but its name or kind cannot be carried.
            WorkspaceTooLarge: a limit is exceeded.
        """
        if isinstance(record, FileBytes):
            self._bytes(record)
            return
        self._finish_file()
        if isinstance(record, UpperDirectory):
            self._directory(record)
        elif isinstance(record, UpperFile):
            self._begin_file(record)
        elif isinstance(record, UpperSymlink):
            target = _target(record)
            self._place(record.path, UpperType.SYMLINK, mode=0o777).target = target
        elif isinstance(record, Whiteout):
            self._place(record.path, UpperType.WHITEOUT)
        else:
            self._special(record)

    def finish(self) -> UpperNode:
        """Return the tree's root; nothing may be added after."""
        self._finish_file()
        return self.root

    def abandon(self) -> None:
        """Forget a file that was being received."""
        if self._open is not None:
            self._open.abandon()
        self._open = self._file = None

    def _directory(self, record: UpperDirectory) -> None:
        if record.path == b"":
            if self._root_seen or record.opaque or record.redirect is not None:
                raise HostileStream("the guest's root directory is announced twice or replaced")
            self._root_seen = True
            return
        node = self._place(record.path, UpperType.DIRECTORY, mode=record.mode)
        node.opaque = record.opaque
        if record.redirect is not None:
            node.redirect = _redirect(record.redirect)
        self._directories[record.path] = node

    def _begin_file(self, record: UpperFile) -> None:
        if record.size < 0:
            raise HostileStream(f"{_shown(record.path)}: a file of negative size")
        self._size_bytes += record.size
        if self._size_bytes > self._limits.size_bytes:
            raise WorkspaceTooLarge(
                f"the guest changed files of more than {self._limits.size_bytes:,} bytes in all",
                hint="raise workspace.max_changeset_bytes in the configuration",
            )
        self._file = self._place(record.path, UpperType.FILE, mode=record.mode)
        self._file.size = record.size
        self._next_offset = 0
        self._open = None if self._is_scratch(self._file.path) else self._spool.receive()

    def _bytes(self, record: FileBytes) -> None:
        if self._file is None:
            raise HostileStream("the guest sent bytes that belong to no file")
        self._runs += 1
        if self._runs > self._limits.runs:
            raise WorkspaceTooLarge("the guest sent its files in too many pieces")
        end = record.offset + len(record.content)
        if not record.content or record.offset < self._next_offset or end > self._file.size:
            raise HostileStream(
                f"{_shown(self._file.path)}: bytes {record.offset}..{end} do not fit a file of "
                f"{self._file.size} bytes, of which {self._next_offset} were received"
            )
        self._next_offset = end
        if self._open is not None:
            self._open.write(record.offset, record.content)

    def _finish_file(self) -> None:
        if self._file is not None and self._open is not None:
            self._file.sha256 = self._open.finish(self._file.size)
        self._open = self._file = None

    def _special(self, record: UpperSpecial) -> None:
        if record.kind not in {"socket", "fifo"}:
            raise HostileStream(f"{_shown(record.path)}: the guest made a device node")
        self._place(record.path, UpperType.SPECIAL)

    def _place(self, path: bytes, kind: UpperType, *, mode: int = 0) -> UpperNode:
        """Put a node into the tree, below a parent that was announced as a directory."""
        _check_path(path, self._limits.depth)
        parent_path, _, name = path.rpartition(b"/")
        parent = self._directories.get(parent_path)
        if parent is None:
            raise HostileStream(f"{_shown(path)}: its directory was not announced as one")
        text = _text(name)
        if text in parent.children:
            raise HostileStream(f"{_shown(path)}: announced twice")
        if is_reserved(text):
            raise Unrepresentable(
                f"{_shown(path)}: names that begin with .luminaguard are LuminaGuard's own",
                hint="let the command use another name",
            )
        node = UpperNode(
            type=kind,
            path=f"{parent.path}/{text}" if parent.path else text,
            mode=mode & 0o777,
            had_special_bits=bool(mode & 0o7000),
        )
        parent.children[text] = node
        self._count += 1
        if self._count > self._limits.entries:
            raise WorkspaceTooLarge(
                f"the guest changed more than {self._limits.entries:,} entries",
                hint="raise workspace.max_changeset_entries in the configuration",
            )
        return node


def _check_path(path: bytes, depth: int) -> None:
    """Refuse every path that is not a plain way down from the root."""
    names = path.split(b"/")
    if b"\0" in path or any(name in {b"", b".", b".."} for name in names):
        raise HostileStream(f"{_shown(path)}: not a path below the workspace")
    if any(len(name) > MAX_NAME_BYTES for name in names):
        raise HostileStream(f"{_shown(path[:80])}...: a name of more than {MAX_NAME_BYTES} bytes")
    if len(path) > MAX_PATH_BYTES:
        raise Unrepresentable(
            f"{_shown(path[:80])}...: a path of more than {MAX_PATH_BYTES} bytes",
            hint="let the command use shorter names",
        )
    if len(names) > depth:
        raise WorkspaceTooLarge(f"{_shown(path[:80])}...: nested deeper than {depth} directories")


def _target(record: UpperSymlink) -> str:
    if not record.target or b"\0" in record.target or len(record.target) > MAX_PATH_BYTES:
        raise HostileStream(f"{_shown(record.path)}: not a symbolic link's target")
    return _text(record.target)


def _redirect(value: bytes) -> str:
    """Check where an overlay says a directory was before: an absolute path, or a sibling's name.

    Source: the kernel's Documentation/filesystems/overlayfs.rst, redirect_dir.
    """
    plain = value.removeprefix(b"/")
    _check_path(plain, MAX_PATH_BYTES)
    if not value.startswith(b"/") and b"/" in value:
        raise HostileStream(f"redirect {_shown(value)}: neither absolute nor a name")
    return _text(value)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _shown(path: bytes | str) -> str:
    """Return a path for a message, whatever is in it."""
    raw = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    return ascii(raw.decode(errors="backslashreplace"))
