"""An overlay's upper layer in memory: what fake guest programs change, told as harvest records."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSpecial,
    UpperSymlink,
    Whiteout,
)

_CHUNK_BYTES = 256 * 1024
_Entry = UpperDirectory | UpperFile | UpperSymlink | UpperSpecial | Whiteout


def _encoded(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")


@dataclass(slots=True)
class UpperLayer:
    """Changes to the workspace, by path relative to its root ("" is the root itself).

    Like a real overlay it knows nothing of what was sent in: `delete` always leaves a whiteout
    unless told that the entry was not in the workspace before.
    """

    entries: dict[bytes, _Entry] = field(default_factory=dict[bytes, _Entry])
    contents: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])

    def write(self, path: str | bytes, content: bytes, *, mode: int = 0o644) -> None:
        """Create or replace a file, and the directories that lead to it."""
        name = self._place(path)
        self.entries[name] = UpperFile(name, mode, len(content), time.time_ns())
        self.contents[name] = content

    def read(self, path: str | bytes) -> bytes:
        """Return what was written to a file of the upper layer."""
        return self.contents[_encoded(path)]

    def mkdir(
        self,
        path: str | bytes,
        *,
        mode: int = 0o755,
        opaque: bool = False,
        redirect: bytes | None = None,
    ) -> None:
        """Make a directory; `opaque` hides what was there, `redirect` says where it came from."""
        name = self._place(path)
        self.entries[name] = UpperDirectory(name, mode, opaque, redirect)

    def chmod(self, path: str | bytes, mode: int) -> None:
        """Change the mode of a file or directory of the upper layer."""
        entry = self.entries[_encoded(path)]
        if not isinstance(entry, UpperFile | UpperDirectory):
            raise TypeError("only files and directories have a mode here")
        self.entries[entry.path] = replace(entry, mode=mode)

    def symlink(self, path: str | bytes, target: str | bytes) -> None:
        """Make a symbolic link."""
        name = self._place(path)
        self.entries[name] = UpperSymlink(name, _encoded(target))

    def special(self, path: str | bytes, kind: str) -> None:
        """Make a "socket", "fifo", "char" or "block" device node."""
        name = self._place(path)
        self.entries[name] = UpperSpecial(name, kind)

    def delete(self, path: str | bytes, *, was_there: bool = True) -> None:
        """Delete an entry with all below it; `was_there`: it was in the workspace before."""
        name = self._place(path)
        for gone in [known for known in self.entries if known.startswith(name + b"/")]:
            del self.entries[gone]
            self.contents.pop(gone, None)
        if was_there:
            self.entries[name] = Whiteout(name)

    def records(self, skip: Sequence[bytes] = ()) -> Iterator[UpperRecord]:
        """Yield the records in a harvest's order: each directory before its contents."""
        if b"" not in self.entries:
            yield UpperDirectory(b"", 0o755, opaque=False, redirect=None)
        skipped = tuple(path + b"/" for path in skip)
        for path in sorted(self.entries, key=lambda known: known.split(b"/")):
            entry = self.entries[path]
            yield entry
            if isinstance(entry, UpperFile) and not path.startswith(skipped):
                content = self.contents[path]
                for offset in range(0, len(content), _CHUNK_BYTES):
                    yield FileBytes(offset, content[offset : offset + _CHUNK_BYTES])

    def _place(self, path: str | bytes) -> bytes:
        """Make room for an entry: directories that lead to it exist, what it replaces is gone."""
        name = _encoded(path)
        parts = name.split(b"/")
        for depth in range(1, len(parts)):
            parent = b"/".join(parts[:depth])
            if not isinstance(self.entries.get(parent), UpperDirectory):
                replaced = parent in self.entries
                self.entries[parent] = UpperDirectory(parent, 0o755, replaced, None)
        self.entries.pop(name, None)
        self.contents.pop(name, None)
        return name
