"""What every machine of an image boots from, as files that any machine may read and none change."""

import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.errors import ImageError
from luminaguard.image.image import GuestImage
from luminaguard.image.initrd import hardening_cpio
from luminaguard.vm.agentfiles import agent_archive, agent_digest
from luminaguard.vm.backends.firecracker.kernel import uncompressed
from luminaguard.vm.directories import cache_lock
from luminaguard.vm.hardening import HardeningProfile

_KERNEL, _INITRD, _ROOT, _DIGESTS = "kernel", "initrd", "root", "digests"
_KEPT = 3
"""Sets kept: an image or agent update leaves the earlier ones for a while."""
_LIMIT_S = 120.0
_UNFINISHED = ".making-"
_MODE = 0o444

_Marks = tuple[tuple[int, int, int], ...]


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

    @property
    def all(self) -> tuple[Path, ...]:
        """Each of them."""
        return self.kernel, self.initrd, self.root


class BootFileStore:
    """Boot files in the cache directory, looked at byte by byte before their first use here."""

    def __init__(self, cache_dir: Path, check_image: Callable[[GuestImage], None]) -> None:
        """Keep files below `cache_dir`; `check_image` refuses an image that is not whole."""
        self._base = cache_dir / "firecracker" / "files"
        self._check_image = check_image
        self._whole: dict[Path, _Marks] = {}

    async def ready(self, image: GuestImage, profile: HardeningProfile) -> BootFiles:
        """Return an image's boot files, made if needed: seconds, once per image, agent, profile.

        Raises:
            ImageError: the image is not whole, or its kernel cannot be unpacked.
        """
        held = sha256(profile.to_bytes() + agent_digest().encode()).hexdigest()
        files = BootFiles(directory=self._base / f"{image.digest[:32]}-{held[:32]}")
        if not await run_sync(self._are_whole, files):
            async with cache_lock(self._base, limit_s=_LIMIT_S):
                await run_sync(self._make_unless_whole, image, profile, files)
        with suppress(OSError):
            os.utime(files.directory)
        return files

    def _are_whole(self, files: BootFiles) -> bool:
        """Whether every file is what was written, as far as known or as its hash says."""
        try:
            marks = _marks(files)
            if self._whole.get(files.directory) != marks:
                kept = (files.directory / _DIGESTS).read_bytes()
                if kept != _digests(files):
                    return False
                self._whole[files.directory] = marks
        except OSError:
            return False
        return True

    def _make_unless_whole(
        self, image: GuestImage, profile: HardeningProfile, files: BootFiles
    ) -> None:
        if self._are_whole(files):  # somebody else just made them
            return
        self._check_image(image)
        shutil.rmtree(files.directory, ignore_errors=True)
        _make(image, profile, files.directory)


def _marks(files: BootFiles) -> _Marks:
    """Return what changes when a file is replaced or written to."""
    abouts = (os.stat(path) for path in files.all)
    return tuple((about.st_ino, about.st_size, about.st_mtime_ns) for about in abouts)


def _digests(files: BootFiles) -> bytes:
    found: list[str] = []
    for path in files.all:
        with path.open("rb") as file:
            found.append(file_digest(file, "sha256").hexdigest())
    return "\n".join(found).encode()


def _make(image: GuestImage, profile: HardeningProfile, directory: Path) -> None:
    """Make the set; the caller holds the lock."""
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
        _write(unfinished / _DIGESTS, _digests(BootFiles(directory=unfinished)))
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
