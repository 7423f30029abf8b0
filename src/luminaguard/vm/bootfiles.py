"""Kernel and initial RAM disk in the cache, for backends that boot from paths.

The same content keeps the same paths: a saved machine may be compared with what it returns into.
"""

import os
import shutil
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from luminaguard.errors import ImageError, VmError
from luminaguard.image.image import GuestImage
from luminaguard.image.initrd import hardening_cpio
from luminaguard.vm.hardening import HardeningProfile

_KEPT = 4
"""Pairs kept: one for each image and profile in use, and some that a saved machine may name."""


def boot_files(
    boot_dir: Path,
    image: GuestImage,
    profile: HardeningProfile,
    agent: bytes,
    *,
    unpack: Callable[[bytes], bytes] = bytes,
) -> tuple[Path, Path]:
    """Return the paths of kernel and initial RAM disk, written anew where they differ.

    Blocking.

    Args:
        boot_dir: Where they are kept.
        image: What they come from.
        profile: What the guest is told to hold its commands by.
        agent: The archive that brings the guest agent.
        unpack: Makes of the image's kernel what the machine can boot.

    Raises:
        ImageError: the image cannot be read, or its kernel cannot be booted.
        VmError: the cache cannot be written.
    """
    try:
        kernel = unpack(image.kernel.read_bytes())
        policy = image.policy(profile.lsm).read_bytes()
        parts = (image.initrd.read_bytes(), agent)
    except OSError as problem:
        raise ImageError(
            f"the image cannot be read: {problem}", hint="luminaguard image build"
        ) from problem
    initrd = b"".join((*parts, hardening_cpio(profile.to_bytes(), policy)))
    content = sha256(sha256(kernel).digest() + sha256(initrd).digest()).hexdigest()
    directory = boot_dir / content
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = _kept(directory / "kernel", kernel), _kept(directory / "initrd", initrd)
        os.utime(directory)
        _prune(boot_dir)
    except OSError as problem:
        raise VmError(f"{directory} cannot be written: {problem.strerror}") from problem
    return paths


def _kept(path: Path, content: bytes) -> Path:
    if path.is_file() and path.read_bytes() == content:
        return path
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        fd = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "wb") as target:
            target.write(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _prune(boot: Path) -> None:
    by_age = sorted(boot.iterdir(), key=lambda pair: pair.stat().st_mtime, reverse=True)
    for old in by_age[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
