"""Turning the guest's root directory into a read-only disk image."""

import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from luminaguard.errors import ImageError
from luminaguard.image import space
from luminaguard.image.tree import Node, Tree

# lz4 halves the image, is written in half a second, and costs an emulated guest nothing that
# can be told from noise; zstd and lz4hc take ten times as long to write.
# Measured with Debian 12 under TCG: 74 MB instead of 138 MB; first `pytest --version` 2.0 s
# instead of 1.8 s, `python3 -c` 0.2 s either way.
# "-all-root" because 4.5.1 gives the root directory to whoever builds, whatever "-root-uid" says.
_OPTIONS = (
    "-comp", "lz4", "-quiet", "-no-progress", "-no-xattrs", "-exit-on-error",
    "-reproducible", "-mkfs-time", "0", "-all-time", "0",
    "-root-mode", "0755", "-all-root",
)  # fmt: skip


def write_squashfs(tree: Tree, destination: Path, advance: Callable[[float], None]) -> None:
    """Write a tree as a squashfs image: the same tree always gives the same bytes.

    A tar file of the tree lies beside `destination` meanwhile. `advance` is told the fraction
    that is done.

    Raises:
        ImageError: the tool failed; the message is its own.
    """
    with _unnamed(destination) as stream:
        write_tar(tree, stream, advance)
        _convert(stream, destination)


def write_archive(fill: Callable[[tarfile.TarFile], None], destination: Path) -> None:
    """Write a squashfs image of what `fill` adds to a tar; see `write_squashfs`."""
    with _unnamed(destination) as stream:
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            fill(archive)
        _convert(stream, destination)


@contextmanager
def _unnamed(beside: Path) -> Generator[IO[bytes]]:
    """Lend a file on the same disk that no crash can leave behind."""
    path = beside.with_suffix(".tar")
    with path.open("w+b") as stream:
        path.unlink()
        yield stream


def _convert(archive: IO[bytes], destination: Path) -> None:
    archive.seek(0)
    result = subprocess.run(
        ["sqfstar", *_OPTIONS, str(destination)],
        stdin=archive,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
    if result.returncode != 0:
        reason = (result.stderr or result.stdout).decode(errors="replace").strip()
        if space.names_full_disk(reason):
            raise space.full()
        raise ImageError(f"the root file system could not be written: {reason}")


def write_tar(tree: Tree, sink: IO[bytes], advance: Callable[[float], None]) -> None:
    """Write a tree as a tar stream, in path order, without times, all of it root's."""
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for count, (path, node) in enumerate(tree, start=1):
            _write_member(archive, path, node, tree.content(path))
            advance(count / len(tree))


def _write_member(archive: tarfile.TarFile, path: str, node: Node, content: Path) -> None:
    member = tarfile.TarInfo(path)
    member.mode = stat.S_IMODE(node.mode)
    if stat.S_ISDIR(node.mode):
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    elif stat.S_ISLNK(node.mode):
        member.type = tarfile.SYMTYPE
        member.linkname = node.target
        archive.addfile(member)
    else:
        member.size = content.stat().st_size
        with content.open("rb") as source:
            archive.addfile(member, source)
