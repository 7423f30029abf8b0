"""Saved guests in the cache directory: found by key, checked before use, built by one at a time.

A template is a directory of three files. It appears under its name only when it is whole and on
disk; what a dead builder left is removed by the next one.
"""

import json
import os
import shutil
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast

from anyio.to_thread import run_sync

from luminaguard.domain.calls import canonical_json
from luminaguard.errors import HypervisorUnavailable, TemplateError
from luminaguard.vm.directories import cache_lock, make_private
from luminaguard.vm.savedmemory import SavedMemory, save_memory

RAM, STATE, MANIFEST = "ram", "state", "manifest.json"
_FORMAT = 1
_KEPT = 4
"""Templates kept: an image or QEMU update leaves the earlier ones for a while."""
_BUILD_LIMIT_S = 240.0
_STATE_LIMIT_BYTES = 64 * 1024**2
_UNFINISHED = ".building-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a template's files must be."""

    key: str
    memory: SavedMemory
    state_sha256: str


def write_template(directory: Path, *, key: str, memory_fd: int, size_bytes: int) -> None:
    """Complete a template whose device state QEMU has written: memory, then the manifest.

    Blocking. Every file is on disk when this returns.
    """
    memory = save_memory(memory_fd, size_bytes, directory / RAM)
    content = canonical_json(
        {
            "format": _FORMAT,
            "key": key,
            "ram": memory.as_json(),
            "state": {"sha256": sha256((directory / STATE).read_bytes()).hexdigest()},
        }
    )
    fd = os.open(directory / MANIFEST, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(fd, "wb") as target:
        target.write(content)
        target.flush()
        os.fsync(fd)
    _sync(directory / STATE)
    _sync(directory)


def read_manifest(directory: Path, key: str) -> Manifest:
    """Return the manifest of the template in `directory`, which must have been saved under `key`.

    Raises:
        TemplateError: missing, unreadable, or of other making.
    """
    try:
        read = cast("dict[str, object]", json.loads((directory / MANIFEST).read_bytes()))
        ram = cast("dict[str, object]", read["ram"])
        extents = cast("list[list[int]]", ram["extents"])
        manifest = Manifest(
            key=str(read["key"]),
            memory=SavedMemory(
                size_bytes=int(cast("int", ram["size"])),
                extents=tuple((int(start), int(length)) for start, length in extents),
                sha256=str(ram["sha256"]),
            ),
            state_sha256=str(cast("dict[str, object]", read["state"])["sha256"]),
        )
        format_read = read["format"]
    except FileNotFoundError as missing:
        raise TemplateError(f"there is no template in {directory}") from missing
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise TemplateError(f"the template's manifest in {directory} is damaged") from problem
    if format_read != _FORMAT or manifest.key != key:
        raise TemplateError(f"the template in {directory} is of another making")
    return manifest


def read_state(directory: Path, manifest: Manifest) -> bytes:
    """Return the saved device state.

    Raises:
        TemplateError: it is not what was saved.
    """
    try:
        with open(directory / STATE, "rb") as source:
            content = source.read(_STATE_LIMIT_BYTES)
    except OSError as problem:
        raise TemplateError(f"the template's state cannot be read: {problem.strerror}") from problem
    if sha256(content).hexdigest() != manifest.state_sha256:
        raise TemplateError("the template's device state is not what was saved")
    return content


class TemplateStore:
    """The templates of one cache directory."""

    def __init__(self, cache_dir: Path) -> None:
        """Use `cache_dir`/templates."""
        self._directory = cache_dir / "templates"

    def path(self, key: str) -> Path:
        """Return where the template with this key is, or would be."""
        return self._directory / key

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Be the only builder, in any process, for a while.

        Raises:
            HypervisorUnavailable: others may enter the directory.
            VmError: another builder took too long.
        """
        if not make_private(self._directory):
            raise HypervisorUnavailable(
                f"others may enter {self._directory}, so templates there cannot be trusted",
                hint=f"chmod 700 {self._directory}",
            )
        async with cache_lock(self._directory, limit_s=_BUILD_LIMIT_S):
            await run_sync(self._remove_unfinished)
            yield

    @asynccontextmanager
    async def new(self, key: str) -> AsyncGenerator[Path]:
        """Give an empty directory; once filled without an error it becomes the template `key`."""
        unfinished = self._directory / f"{_UNFINISHED}{uuid.uuid4().hex}"
        unfinished.mkdir(mode=0o700)
        try:
            yield unfinished
            await run_sync(self._publish, unfinished, key)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def used(self, key: str) -> None:
        """Note that a template is in use, so that it outlives others."""
        with suppress(OSError):
            os.utime(self.path(key) / MANIFEST)

    def _publish(self, unfinished: Path, key: str) -> None:
        target = self.path(key)
        if target.exists():
            os.rename(target, self._directory / f"{_UNFINISHED}{uuid.uuid4().hex}")
        os.rename(unfinished, target)
        _sync(self._directory)
        self._remove_unfinished()
        self._prune()

    def _remove_unfinished(self) -> None:
        for left in self._directory.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _prune(self) -> None:
        by_age = sorted(self._directory.glob(f"*/{MANIFEST}"), key=_age, reverse=True)
        for manifest in by_age[_KEPT:]:
            shutil.rmtree(manifest.parent, ignore_errors=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
