"""Write an EROFS file system image: the workspace as a read-only disk.

Written here and not by mkfs.erofs or sqfstar for three reasons: the image must hold an explicit
list of files, each checked while it is read; the bytes must not pass through a second copy of the
tree; and a first answer waits for it (it takes about a third of the time that those tools take).
The subset is the plainest there is, readable by every kernel since 5.4: uncompressed, no extended
attributes, no inline data, 64-byte inodes, 4 KiB blocks.

    block 0        superblock, at byte 1024
    block 1 ...    inode table: slot n is inode n, 64 bytes each (a nid counts 32-byte units)
    then           file contents as they arrive, each from a new block
    at the end     link targets and directories, when it is known what got in

Source: the kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst.
"""

import os
import stat
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

BLOCK = 4096
_MAGIC = 0xE0F5E1E2
_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sI44x")
_INODE = struct.Struct("<HHHHQIIIIQII16x")
_DIRENT = struct.Struct("<QHBx")
_EXTENDED_PLAIN = 1
"""i_format: bit 0 = extended inode, data layout 0 = flat, all data in blocks of its own."""
_FIRST_SLOT = 1
"""Slot 0 stays empty: number 0 would make C libraries take a directory entry for a deleted one."""
_FILE_TYPES = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFLNK: 7}
_FLUSH_BYTES = 1 << 20
_FLUSH_PIECES = 512
"""Below IOV_MAX (1024)."""

GUEST_ID = 1000
"""Owner of everything in the image: the ordinary user that commands run as."""


@dataclass(slots=True, kw_only=True)
class Node:
    """One inode to be: `block` is where its content begins, for files and links."""

    mode: int
    """With its type bits."""
    mtime_ns: int
    size: int = 0
    block: int = 0
    links: int = 1
    children: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """Of a directory: name → slot."""
    parent: int = _FIRST_SLOT


class ErofsWriter:
    """Write one image front to back into a fresh file.

    First `append` contents, in any order; then `finish` with all nodes. Node n of the sequence has
    slot n + 1; node 0 is the root directory.
    """

    def __init__(self, fd: int, *, capacity: int) -> None:
        """Begin an image with room for `capacity` inodes."""
        self._fd = fd
        table_bytes = (capacity + _FIRST_SLOT) * _INODE.size
        self._next_block = 1 + -(-table_bytes // BLOCK)
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._offset = self._next_block * BLOCK

    def append(self, content: bytes) -> int:
        """Add content from a new block on, and return that block's number."""
        if not content:
            return 0
        block = self._next_block
        size = len(content)
        padding = -size % BLOCK
        self._pieces.append(content)
        if padding:
            self._pieces.append(_ZEROS[:padding])
        self._next_block += (size + padding) // BLOCK
        self._waiting_bytes += size + padding
        if self._waiting_bytes >= _FLUSH_BYTES or len(self._pieces) >= _FLUSH_PIECES:
            self._flush()
        return block

    def finish(self, nodes: Sequence[Node]) -> int:
        """Write directories, inodes and superblock; return the image's size in bytes."""
        for slot, node in enumerate(nodes, _FIRST_SLOT):
            if stat.S_ISDIR(node.mode):
                content = _directory(slot, node, nodes)
                node.size = len(content)
                node.block = self.append(content)
        self._flush()
        table = bytearray(_FIRST_SLOT * _INODE.size)
        for slot, node in enumerate(nodes, _FIRST_SLOT):
            table += _inode(slot, node)
        _write_all(self._fd, [bytes(table)], BLOCK)
        superblock = _SUPERBLOCK.pack(
            _MAGIC,
            0,
            0,
            BLOCK.bit_length() - 1,
            0,
            _nid(_FIRST_SLOT),
            len(nodes),
            nodes[0].mtime_ns // 10**9,
            0,
            self._next_block,
            1,
            0,
            bytes(16),
            bytes(16),
            0,
        )  # fmt: skip - in the order of struct erofs_super_block
        _write_all(self._fd, [bytes(1024) + superblock], 0)
        size = self._next_block * BLOCK
        os.ftruncate(self._fd, size)
        return size

    def _flush(self) -> None:
        _write_all(self._fd, self._pieces, self._offset)
        self._offset += self._waiting_bytes
        self._pieces = []
        self._waiting_bytes = 0


_ZEROS = bytes(BLOCK)


def _nid(slot: int) -> int:
    return slot * _INODE.size // 32


def _inode(slot: int, node: Node) -> bytes:
    seconds, nanoseconds = divmod(node.mtime_ns, 10**9)
    return _INODE.pack(
        _EXTENDED_PLAIN,
        0,
        node.mode,
        0,
        node.size,
        node.block,
        _nid(slot),
        GUEST_ID,
        GUEST_ID,
        max(seconds, 0),
        nanoseconds,
        node.links,
    )  # fmt: skip - in the order of struct erofs_inode_extended


def _directory(slot: int, node: Node, nodes: Sequence[Node]) -> bytes:
    """Lay out a directory: blocks of entries followed by their names, in byte order of names."""
    listed = [(b".", slot), (b"..", node.parent), *node.children.items()]
    listed.sort()
    blocks: list[bytes] = []
    entries: list[tuple[bytes, int]] = []
    used = 0
    for name, target in listed:
        needed = _DIRENT.size + len(name)
        if used + needed > BLOCK:
            blocks.append(_directory_block(entries, nodes).ljust(BLOCK, b"\0"))
            entries, used = [], 0
        entries.append((name, target))
        used += needed
    blocks.append(_directory_block(entries, nodes))
    return b"".join(blocks)


def _directory_block(entries: list[tuple[bytes, int]], nodes: Sequence[Node]) -> bytes:
    place = len(entries) * _DIRENT.size
    head = bytearray()
    for name, target in entries:
        kind = _FILE_TYPES[stat.S_IFMT(nodes[target - _FIRST_SLOT].mode)]
        head += _DIRENT.pack(_nid(target), place, kind)
        place += len(name)
    return bytes(head) + b"".join(name for name, _ in entries)


def _write_all(fd: int, pieces: list[bytes], offset: int) -> None:
    if sys.platform == "win32":
        raise NotImplementedError("images are written where positioned writes exist")
    wanted = sum(map(len, pieces))
    written = os.pwritev(fd, pieces, offset) if pieces else 0
    if written < wanted:  # a signal, or a nearly full disk: the rest one by one, or the error
        rest = memoryview(b"".join(pieces))[written:]
        while rest:
            count = os.pwrite(fd, rest, offset + wanted - len(rest))
            rest = rest[count:]
