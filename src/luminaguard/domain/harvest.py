"""What a guest reports of its workspace overlay's upper layer, record by record.

These are claims of an untrusted party: nothing here has been checked. `workspace.harvest` checks
them against the manifest of what was sent in, and makes a Changeset of what holds.

Order of a stream: each directory before its contents; a file's `UpperFile` is followed at once by
its `FileBytes`, in ascending offsets; holes of a sparse file are simply not sent.
Paths are relative to the workspace root, `/`-separated bytes; `b""` is the root itself.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpperDirectory:
    """A directory in the upper layer, merged over the lower one unless `opaque`."""

    path: bytes
    mode: int
    opaque: bool
    redirect: bytes | None
    """Value of the overlay's redirect attribute: where this directory was in the lower layer."""


@dataclass(frozen=True, slots=True)
class UpperFile:
    """A regular file; `size` bytes follow as FileBytes, less its holes."""

    path: bytes
    mode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FileBytes:
    """A run of bytes of the file announced last."""

    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class UpperSymlink:
    """A symbolic link and where it points."""

    path: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Whiteout:
    """The lower layer's entry at this path was deleted."""

    path: bytes


@dataclass(frozen=True, slots=True)
class UpperSpecial:
    """A socket, FIFO or device node: `kind` is one of "socket", "fifo", "char", "block"."""

    path: bytes
    kind: str


UpperRecord = UpperDirectory | UpperFile | FileBytes | UpperSymlink | Whiteout | UpperSpecial
