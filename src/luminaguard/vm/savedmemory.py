"""A template's memory: saved without its empty pages, loaded into memory that nobody can change.

A clone maps the loaded copy privately. Because the copy is sealed, a clone that broke out of its
guest still cannot alter what later clones start from; a plain file could be opened for writing,
since QEMU opens its memory file read-write even where it maps it privately.
Source: QEMU 7.2, `memory-backend-file` with `share=off`; measured in the research on its path.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.errors import TemplateError
from luminaguard.vm.linux import (
    NO_FOLLOW,
    data_extents,
    memory_file,
    read_at,
    read_into,
    seal,
    write_at,
)

PAGE_BYTES = 4096
_EMPTY_PAGE = bytes(PAGE_BYTES)
_JOIN_BYTES = 4 * PAGE_BYTES
"""Empty stretches shorter than this are stored: a system call costs more than they do."""
_PIECE_BYTES = 1024 * 1024
"""Copied and hashed at once; small enough to stay in a core's cache."""
_THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedMemory:
    """What a manifest says of a saved guest memory; everything outside the extents is zero."""

    size_bytes: int
    extents: tuple[tuple[int, int], ...]
    """(offset, length), ascending, apart from each other."""
    sha256: str
    """Over size, extents, and the SHA-256 of each piece of at most 1 MiB."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the manifest form."""
        return {
            "size": self.size_bytes,
            "extents": [list(extent) for extent in self.extents],
            "sha256": self.sha256,
        }


def save_memory(source: int, size_bytes: int, target: Path) -> SavedMemory:
    """Write the pages of a memory file that hold anything to `target`, sparse, 0600, synced."""
    extents = _filled_extents(source, size_bytes)
    fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.ftruncate(fd, size_bytes)
        digests = _copy(source, fd, extents)
        os.fsync(fd)
    finally:
        os.close(fd)
    return SavedMemory(
        size_bytes=size_bytes, extents=tuple(extents), sha256=_total(size_bytes, extents, digests)
    )


def load_memory(saved: SavedMemory, path: Path, target: int) -> None:
    """Copy a saved memory into the memory file `target` while checking it, then seal that.

    `target` has `saved.size_bytes` and may already be mapped privately. Blocking: about 50 ms for
    90 MiB on two cores.

    Raises:
        TemplateError: the file is missing, short, or not what was saved.
    """
    try:
        source = os.open(path, os.O_RDONLY | NO_FOLLOW)
    except OSError as problem:
        raise TemplateError(
            f"the template's memory cannot be read: {problem.strerror}"
        ) from problem
    try:
        digests = _copy(source, target, saved.extents)
    finally:
        os.close(source)
    if _total(saved.size_bytes, saved.extents, digests) != saved.sha256:
        raise TemplateError("the template's memory is not what was saved")
    seal(target)


def sealed_copy(name: str, content: bytes) -> int:
    """Return a sealed memory file with this content."""
    fd = memory_file(name)
    try:
        written = 0
        while written < len(content):
            written += os.write(fd, memoryview(content)[written:])
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _filled_extents(source: int, size_bytes: int) -> list[tuple[int, int]]:
    """Return the stretches that are not zero, joining those with small gaps between them."""
    joined: list[tuple[int, int]] = []
    for start, length in _filled_pages(source, size_bytes):
        if joined and start - sum(joined[-1]) < _JOIN_BYTES:
            joined[-1] = (joined[-1][0], start + length - joined[-1][0])
        else:
            joined.append((start, length))
    return joined


def _filled_pages(source: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    for piece_start, piece_length in _pieces(data_extents(source, size_bytes)):
        content = read_at(source, piece_length, piece_start)
        if content.count(0) == len(content):
            continue
        for offset in range(0, len(content), PAGE_BYTES):
            page = content[offset : offset + PAGE_BYTES]
            if page != _EMPTY_PAGE[: len(page)]:
                yield piece_start + offset, len(page)


def _pieces(extents: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, length in extents:
        end = start + length
        bounds = [*range(start, end, _PIECE_BYTES), end]
        for left, right in pairwise(bounds):
            yield left, right - left


def _copy(source: int, target: int, extents: Sequence[tuple[int, int]]) -> list[bytes]:
    """Copy the extents between files at the same offsets; return each piece's digest in order."""
    pieces = list(_pieces(extents))

    def copy_share(first: int) -> list[bytes]:
        buffer = memoryview(bytearray(_PIECE_BYTES))
        digests: list[bytes] = []
        for start, length in pieces[first::_THREADS]:
            room = buffer[:length]
            got = read_into(source, room, start)
            digests.append(sha256(room[:got]).digest())
            write_at(target, room[:got], start)
        return digests

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="luminaguard-memory") as pool:
        shares = list(pool.map(copy_share, range(_THREADS)))
    return [shares[index % _THREADS][index // _THREADS] for index in range(len(pieces))]


def _total(size_bytes: int, extents: Sequence[tuple[int, int]], digests: Sequence[bytes]) -> str:
    shape = canonical_json({"size": size_bytes, "extents": [list(extent) for extent in extents]})
    return sha256(shape + b"\0" + b"".join(digests)).hexdigest()
