"""Which paths git tracks, read from an index file without starting git.

Host git is never run inside a workspace: its configuration there can name programs to start. The
index is untrusted content too, so anything odd makes it unreadable, and an unreadable index tracks
nothing: ignored files then simply stay on the host.
Source: git's Documentation/gitformat-index.
"""

import struct
from pathlib import PurePosixPath

_ENTRY_BYTES = 40
_EXTENDED = 0x4000
MAX_INDEX_BYTES = 256 << 20


class UnreadableIndex(ValueError):
    """The file is not an index that this reader understands."""


def tracked_paths(content: bytes, *, hash_bytes: int = 20) -> frozenset[str]:
    """Return the paths that an index lists, `/`-separated; names that are not UTF-8 are dropped.

    Args:
        content: The index file, versions 2 to 4.
        hash_bytes: 20, or 32 in a repository whose object format is SHA-256.

    Raises:
        UnreadableIndex: it is damaged or of another kind.
    """
    try:
        magic, version, count = struct.unpack_from(">4sII", content)
        if magic != b"DIRC" or version not in {2, 3, 4}:
            raise UnreadableIndex("not a git index of version 2 to 4")
        reader = _Reader(content, version, hash_bytes)
        names = [reader.next() for _ in range(min(count, len(content) // _ENTRY_BYTES))]
    except (struct.error, ValueError) as error:
        raise UnreadableIndex("the index is cut short") from error
    if len(names) != count:
        raise UnreadableIndex("the index is cut short")
    return frozenset(name for name in map(_text, names) if name)


def folders_of(paths: frozenset[str]) -> frozenset[str]:
    """Return every directory above any of the paths, the root ("") left out."""
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return frozenset(found)


class _Reader:
    """Walk over the entries; version 4 names share their beginning with the one before."""

    def __init__(self, content: bytes, version: int, hash_bytes: int) -> None:
        self._content = content
        self._version = version
        self._fixed = _ENTRY_BYTES + hash_bytes
        self._offset = 12
        self._name = b""

    def next(self) -> bytes:
        """Return the next entry's name."""
        start = self._offset
        (flags,) = struct.unpack_from(">H", self._content, start + self._fixed)
        place = start + self._fixed + 2
        if self._version >= 3 and flags & _EXTENDED:
            place += 2
        shared = b""
        if self._version == 4:
            dropped, place = self._varint(place)
            shared = self._name[: max(len(self._name) - dropped, 0)]
        end = self._content.index(b"\0", place)
        self._name = shared + self._content[place:end]
        # Versions 2 and 3 pad each entry with 1 to 8 NULs to a multiple of 8 bytes.
        self._offset = end + 1 if self._version == 4 else start + (end - start + 8) // 8 * 8
        return self._name

    def _varint(self, place: int) -> tuple[int, int]:
        """Read a number in git's offset encoding."""
        byte = self._at(place)
        value = byte & 0x7F
        while byte & 0x80:
            place += 1
            byte = self._at(place)
            value = ((value + 1) << 7) | (byte & 0x7F)
            if value > MAX_INDEX_BYTES:
                raise UnreadableIndex("a name's length is out of range")
        return value, place + 1

    def _at(self, place: int) -> int:
        if place >= len(self._content):
            raise UnreadableIndex("the index is cut short")
        return self._content[place]


def _text(name: bytes) -> str | None:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    is_plain = text and not text.startswith("/") and ".." not in PurePosixPath(text).parts
    return text if is_plain else None
