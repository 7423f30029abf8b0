"""Kernel and initial RAM disk in the cache, where booted and restored machines both name them.

Saved machines are compared with the configuration they return into, so the paths stay the same.
"""

import os
import shutil
import uuid
from hashlib import sha256
from pathlib import Path

from luminaguard.errors import ImageError, VmError
from luminaguard.image.image import GuestImage
from luminaguard.image.initrd import hardening_cpio
from luminaguard.vm.backends.apple.kernel import bootable_kernel
from luminaguard.vm.backends.qemu.cold import agent_archive
from luminaguard.vm.hardening import HardeningProfile

_KEPT = 4
"""Pairs kept: one for each image and profile in use, and some that a saved machine may name."""


def boot_files(
    cache_dir: Path, image: GuestImage, profile: HardeningProfile, arch: str
) -> tuple[Path, Path]:
    """Return the paths of kernel and initial RAM disk, written anew where they differ.

    Blocking.

    Raises:
        ImageError: the image cannot be read, or its kernel cannot be booted.
        VmError: the cache cannot be written.
    """
    try:
        kernel = bootable_kernel(image.kernel.read_bytes(), arch)
        policy = image.policy(profile.lsm).read_bytes()
        parts = (image.initrd.read_bytes(), agent_archive())
    except OSError as problem:
        raise ImageError(
            f"the image cannot be read: {problem}", hint="luminaguard image build"
        ) from problem
    initrd = b"".join((*parts, hardening_cpio(profile.to_bytes(), policy)))
    content = sha256(sha256(kernel).digest() + sha256(initrd).digest()).hexdigest()
    directory = cache_dir / "apple" / "boot" / content
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = _kept(directory / "kernel", kernel), _kept(directory / "initrd", initrd)
        os.utime(directory)
        _prune(directory.parent)
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
