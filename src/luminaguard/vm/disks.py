"""Scratch disks: where a guest may write without ever touching the host's files.

A scratch disk is a sparse file without a name, so no crash can leave one behind, holding an empty
ext4 file system. The file system is made once per size and copied from then on.
"""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable, VmError
from luminaguard.vm.linux import anonymous_file, data_extents, read_at, write_at

_MKE2FS_TIMEOUT_S = 60.0
_COPY_BYTES = 64 * 1024
_PLACES = (
    *("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"),
    *("/opt/homebrew/opt/e2fsprogs/sbin", "/usr/local/opt/e2fsprogs/sbin"),
)
"""Where it may be: an ordinary user's PATH leaves the system's out, and Homebrew's."""
_INSTALL = "brew install e2fsprogs" if sys.platform == "darwin" else "apt-get install e2fsprogs"
_FEATURES = "^has_journal,^resize_inode,^metadata_csum,sparse_super2"
"""No journal: a scratch disk never outlives its machine, so it is never recovered."""


def scratch_disk(cache_dir: Path, size_bytes: int) -> int:
    """Return the descriptor of a fresh scratch disk: 0600, sparse, nameless, empty ext4.

    The caller owns the descriptor. Blocking; some milliseconds once the cache holds the pattern.

    Args:
        cache_dir: Where the pattern is kept and where the disk's blocks are taken from.
        size_bytes: Size of the file system; the disk uses only what the guest writes.

    Raises:
        HypervisorUnavailable: no mke2fs on this host.
        VmError: the pattern could not be made, or the disk is full.
    """
    pattern = _pattern(cache_dir, size_bytes)
    source = os.open(pattern, os.O_RDONLY)
    try:
        disk = anonymous_file(cache_dir)
        try:
            _copy_sparse(source, disk, size_bytes)
        except BaseException:
            os.close(disk)
            raise
    except OSError as problem:
        raise VmError(
            f"a scratch disk could not be made in {cache_dir}: {problem.strerror}",
            hint="free some space there, or set LUMINAGUARD_CACHE_DIR to another place",
        ) from problem
    finally:
        os.close(source)
    return disk


def _pattern(cache_dir: Path, size_bytes: int) -> Path:
    """Return the cached, never mounted file system of this size, making it if needed."""
    pattern = cache_dir / f"scratch-{size_bytes}.ext4"
    if pattern.exists() and pattern.stat().st_size == size_bytes:
        return pattern
    cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    formatted = cache_dir / f".scratch-{uuid.uuid4().hex}"
    unfinished = formatted.with_suffix(".sparse")
    try:
        _format(formatted, size_bytes)
        _dig_holes(formatted, unfinished, size_bytes)
        os.rename(unfinished, pattern)
    finally:
        formatted.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    return pattern


def _dig_holes(path: Path, target: Path, size_bytes: int) -> None:
    """Copy without the zeros that mke2fs wrote: each disk is then copied in milliseconds."""
    source = os.open(path, os.O_RDONLY)
    try:
        copy = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            _copy_sparse(source, copy, size_bytes)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _format(path: Path, size_bytes: int) -> None:
    tool = shutil.which("mke2fs", path=os.pathsep.join(_PLACES))
    if tool is None:
        raise HypervisorUnavailable(
            "mke2fs is missing, so no scratch disk can be made", hint=_INSTALL
        )
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.ftruncate(fd, size_bytes)
    finally:
        os.close(fd)
    arguments = [tool, "-q", "-F", "-t", "ext4", "-m", "0", "-O", _FEATURES]
    arguments += ["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", str(path)]
    made = subprocess.run(
        arguments, capture_output=True, timeout=_MKE2FS_TIMEOUT_S, check=False, env={"LC_ALL": "C"}
    )
    if made.returncode:
        reason = made.stderr.decode(errors="replace").strip()
        raise VmError(f"mke2fs could not make a scratch disk: {reason}")


def _copy_sparse(source: int, target: int, size_bytes: int) -> None:
    os.ftruncate(target, size_bytes)
    for start, length in data_extents(source, size_bytes):
        for offset in range(start, start + length, _COPY_BYTES):
            wanted = min(_COPY_BYTES, start + length - offset)
            piece = read_at(source, wanted, offset)
            if piece.strip(b"\0"):
                write_at(target, piece, offset)
