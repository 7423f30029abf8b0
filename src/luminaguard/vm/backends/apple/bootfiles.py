"""Kernel and initial RAM disk in the cache, where booted and restored machines both name them.

Saved machines are compared with the configuration they return into, so the paths stay the same.
"""

import os
import uuid
from pathlib import Path

from luminaguard.errors import ImageError, VmError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.apple.kernel import bootable_kernel


def boot_files(cache_dir: Path, image: GuestImage, agent: bytes, arch: str) -> tuple[Path, Path]:
    """Return the paths of kernel and initial RAM disk, written anew where they differ.

    Blocking. `agent`: the archive that brings the guest agent.

    Raises:
        ImageError: the image cannot be read, or its kernel cannot be booted.
        VmError: the cache cannot be written.
    """
    try:
        kernel = bootable_kernel(image.kernel.read_bytes(), arch)
        initrd = image.initrd.read_bytes() + agent
    except OSError as problem:
        raise ImageError(
            f"the image in {image.directory} cannot be read: {problem.strerror}",
            hint="luminaguard image build",
        ) from problem
    directory = cache_dir / "apple" / "boot" / image.digest
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _kept(directory / "kernel", kernel), _kept(directory / "initrd", initrd)
    except OSError as problem:
        raise VmError(f"{directory} cannot be written: {problem.strerror}") from problem


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
