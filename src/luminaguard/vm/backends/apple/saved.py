"""Saved machines: what belongs to one, and the check before it is restored.

The framework reads a state file into each machine that it restores: as far as Apple documents,
machines from one file share no memory. A file is hashed once per process, and after that known by
its identity.
Source: Apple, VZVirtualMachine.saveMachineStateTo and restoreMachineStateFrom; WWDC 2023, 10007.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from luminaguard.domain.calls import canonical_json
from luminaguard.errors import TemplateError

STATE, IDENTIFIER, MANIFEST = "state.vzvmsave", "identifier", "manifest.json"
_FORMAT = 1
_FILES = (STATE, IDENTIFIER)
_IDENTIFIER_BYTES = 64 * 1024

Stamp = tuple[tuple[int, ...], ...]
"""Identity of each file: device, inode, size, times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedMachine:
    """A saved machine whose files are what was saved."""

    state: Path
    identifier: bytes
    stamp: Stamp


def complete(directory: Path, *, key: str, identifier: bytes) -> None:
    """Write what a template needs beside the state file, and sync it all. Blocking."""
    _write(directory / IDENTIFIER, identifier)
    hashes = {name: _digest(directory / name) for name in _FILES}
    manifest = canonical_json({"format": _FORMAT, "key": key, "sha256": dict(hashes)})
    _write(directory / MANIFEST, manifest)
    for path in (directory / STATE, directory):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def verified(directory: Path, key: str, known: SavedMachine | None) -> SavedMachine:
    """Return the saved machine; its files are hashed unless they are still the `known` ones.

    Blocking.

    Raises:
        TemplateError: missing, of another making, or not what was saved.
    """
    try:
        if known is not None and known.stamp == _stamp(directory):
            return known
        manifest = cast("dict[str, object]", json.loads((directory / MANIFEST).read_bytes()))
        if (manifest["format"], manifest["key"]) != (_FORMAT, key):
            raise TemplateError(f"the template in {directory} is of another making")
        stamp = _stamp(directory)
        hashes = cast("dict[str, str]", manifest["sha256"])
        damaged = [name for name in _FILES if _digest(directory / name) != hashes[name]]
        with open(directory / IDENTIFIER, "rb") as source:
            identifier = source.read(_IDENTIFIER_BYTES)
    except FileNotFoundError as missing:
        raise TemplateError(f"there is no template in {directory}") from missing
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise TemplateError(f"the template in {directory} is damaged") from problem
    if damaged or stamp != _stamp(directory):
        raise TemplateError(f"the template in {directory} is not what was saved")
    return SavedMachine(state=directory / STATE, identifier=identifier, stamp=stamp)


def _stamp(directory: Path) -> Stamp:
    seen = [os.lstat(directory / name) for name in (*_FILES, MANIFEST)]
    return tuple(
        (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in seen
    )


def _digest(path: Path) -> str:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(fd, "wb") as target:
        target.write(content)
        target.flush()
        os.fsync(fd)
