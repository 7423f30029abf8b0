"""What every machine of an image boots from, as files that any machine may read and none change."""

import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.errors import ImageError
from luminaguard.image.image import GuestImage
from luminaguard.image.initrd import hardening_cpio
from luminaguard.vm.backends.firecracker.kernel import uncompressed
from luminaguard.vm.backends.qemu.cold import agent_archive, agent_digest
from luminaguard.vm.directories import cache_lock
from luminaguard.vm.hardening import HardeningProfile

_KERNEL, _INITRD, _ROOT = "kernel", "initrd", "root"
_KEPT = 3
"""Sets kept: an image or agent update leaves the earlier ones for a while."""
_LIMIT_S = 120.0
_UNFINISHED = ".making-"
_MODE = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFiles:
    """Three files in the cache directory."""

    directory: Path

    @property
    def kernel(self) -> Path:
        """The kernel, an uncompressed ELF file."""
        return self.directory / _KERNEL

    @property
    def initrd(self) -> Path:
        """The image's RAM disk with the guest agent and its hardening profile appended."""
        return self.directory / _INITRD

    @property
    def root(self) -> Path:
        """The root disk."""
        return self.directory / _ROOT


async def boot_files(image: GuestImage, profile: HardeningProfile, cache_dir: Path) -> BootFiles:
    """Return an image's boot files, made if needed: seconds, once per image, agent and profile.

    Raises:
        ImageError: the image cannot be read, or its kernel cannot be unpacked.
    """
    base = cache_dir / "firecracker" / "files"
    held = sha256(profile.to_bytes() + agent_digest().encode()).hexdigest()
    found = BootFiles(directory=base / f"{image.digest[:32]}-{held[:32]}")
    if not found.directory.is_dir():
        async with cache_lock(base, limit_s=_LIMIT_S):
            await run_sync(_make, image, profile, found.directory)
    with suppress(OSError):
        os.utime(found.directory)
    return found


def _make(image: GuestImage, profile: HardeningProfile, directory: Path) -> None:
    """Make the set unless somebody else just has; the caller holds the lock."""
    if directory.is_dir():
        return
    base = directory.parent
    for left in base.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    unfinished = base / f"{_UNFINISHED}{uuid.uuid4().hex}"
    unfinished.mkdir(mode=0o700)
    try:
        kernel = uncompressed(image.kernel.read_bytes())
        _write(unfinished / _KERNEL, kernel)
        policy = image.policy(profile.lsm).read_bytes()
        parts = (image.initrd.read_bytes(), agent_archive())
        _write(unfinished / _INITRD, b"".join((*parts, hardening_cpio(profile.to_bytes(), policy))))
        shutil.copyfile(image.rootfs, unfinished / _ROOT)
        (unfinished / _ROOT).chmod(_MODE)
        os.rename(unfinished, directory)
    except OSError as problem:
        raise ImageError(
            f"the image in {image.directory} cannot be readied: {problem.strerror}",
            hint="luminaguard image verify; or free some space in the cache directory",
        ) from problem
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _prune(base)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(_MODE)


def _prune(base: Path) -> None:
    sets = [path for path in base.iterdir() if path.is_dir()]
    by_age = sorted(sets, key=lambda path: path.stat().st_mtime, reverse=True)
    for old in by_age[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
