"""Where built images live: `images/NAME/DIGEST/`, and one pointer per name to the current one.

An image appears by a rename, complete and on disk, or not at all. Under a name that was never
built here, an image that an installed package brings is found.
"""

import os
import platform
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import Manifest
from luminaguard.image.packaged import packaged

_BUILD = "luminaguard image build"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "ARM64": "arm64"}
"""What processors are called by systems → by distributions."""
_CURRENT = "current"
_UNFINISHED = ".building-"
_REMOVED = ".removed-"
"""Neither can begin the name of an image."""


class ImageStore:
    """The images in a cache directory. Reading needs no lock; building is for one at a time."""

    def __init__(self, cache_dir: Path) -> None:
        """Use `cache_dir`; nothing is made before an image is built."""
        self.cache_dir = cache_dir
        self._images = cache_dir / "images"

    def current(self, name: str = "default") -> GuestImage:
        """Return the image that new machines use. Its manifest is checked, its files are not.

        One that was built here goes before one from an installed package, even if it is damaged.

        Raises:
            ImageError: there is none, its manifest is damaged, or it is for other processors.
        """
        pointer = self._of(name) / _CURRENT
        try:
            digest = pointer.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return self._fitting(self._from_package(name), name)
        except (OSError, UnicodeDecodeError) as error:
            raise ImageError(f"{pointer} cannot be read: {error}", hint=_mend(name)) from error
        if not _DIGEST.fullmatch(digest):
            raise ImageError(f"{pointer} is damaged", hint=_mend(name))
        return self._fitting(GuestImage(directory=self._of(name) / digest, digest=digest), name)

    def names(self) -> tuple[str, ...]:
        """Return the names under which there are images, sorted, damaged ones included."""
        found = {path.parent.name for path in self._images.glob(f"*/{_CURRENT}")}
        found |= {name for name, _ in packaged()}
        return tuple(sorted(name for name in found if _NAME.fullmatch(name)))

    def list(self) -> tuple[GuestImage, ...]:
        """Return all images that were built here, by name and digest."""
        found = sorted(self._images.glob("*/*/manifest.json"))
        return tuple(
            GuestImage(directory=path.parent, digest=path.parent.name)
            for path in found
            if _DIGEST.fullmatch(path.parent.name) and _NAME.fullmatch(path.parts[-3])
        )

    def manifest(self, image: GuestImage) -> Manifest:
        """Return what an image is made of.

        Raises:
            ImageError: the manifest is missing or is not the one that the image is named for.
        """
        try:
            content = image.manifest.read_bytes()
        except OSError as error:
            raise _bad(image, "manifest.json", error.strerror or "unreadable") from error
        if sha256(content).hexdigest() != image.digest:
            raise _bad(image, "manifest.json", "it is not the one that was built")
        return Manifest.from_bytes(content)

    def verify(self, image: GuestImage) -> None:
        """Read all files of an image and compare them with its manifest.

        Raises:
            ImageError: a file is missing or differs; the message names the first one.
        """
        for name, record in sorted(self.manifest(image).artifacts.items()):
            try:
                with (image.directory / name).open("rb") as stream:
                    size = os.fstat(stream.fileno()).st_size
                    digest = file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise _bad(image, name, error.strerror or "unreadable") from error
            if size != record.size:
                raise _bad(image, name, f"{size} bytes instead of {record.size}")
            if digest != record.sha256:
                raise _bad(image, name, "its SHA-256 is another one")

    @contextmanager
    def workshop(self, name: str) -> Generator[Path]:
        """Lend an empty directory on the store's file system; it is removed afterwards."""
        place = self._of(name) / f"{_UNFINISHED}{secrets.token_hex(4)}"
        place.mkdir(mode=0o700, parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def publish(self, name: str, directory: Path, manifest: Manifest) -> GuestImage:
        """Take in a directory with all artefacts, from a `workshop`, and make it the current one.

        The image that was current stays, for machines that still use it; older ones go.
        """
        _write(directory / "manifest.json", manifest.to_bytes())
        for artifact in manifest.artifacts:
            _sync(directory / artifact)
        _sync(directory)
        home = self._of(name)
        target = home / manifest.digest
        before = self._pointed(name)
        image = GuestImage(directory=target, digest=manifest.digest)
        if not self._intact(image):
            shutil.rmtree(target, ignore_errors=True)
            directory.rename(target)
        self._point(home, manifest.digest)
        for old in home.iterdir():
            if _DIGEST.fullmatch(old.name) and old.name not in {manifest.digest, before}:
                shutil.rmtree(old, ignore_errors=True)
        return image

    def remove(self, name: str) -> int:
        """Remove an image with all its versions; return how many bytes they took.

        Raises:
            ImageError: there is none of this name.
        """
        home = self._of(name)
        if not home.is_dir():
            for package in (image.package for other, image in packaged() if other == name):
                raise ImageError(
                    f"image {name!r} was not built here; the package {package} brings it",
                    hint=f"pip uninstall {package}",
                )
            raise ImageError(f"there is no guest image {name!r}", hint="luminaguard image list")
        gone = self._images / f"{_REMOVED}{secrets.token_hex(4)}"
        size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
        home.rename(gone)  # at once: no half of an image is ever current
        shutil.rmtree(gone)
        return size

    def sweep(self) -> None:
        """Remove what builds left that were killed. Only while no other build runs."""
        for left in (
            *self._images.glob(f"*/{_UNFINISHED}*"),
            *self._images.glob(f"{_REMOVED}*"),
        ):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def _of(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ImageError(
                f"{name!r} cannot name an image",
                hint="use lower-case letters, digits, '.', '_' and '-'",
            )
        return self._images / name

    def _from_package(self, name: str) -> GuestImage:
        found = [image for other, image in packaged() if other == name]
        if not found:
            raise ImageError(f"there is no guest image {name!r} yet", hint=_mend(name))
        if len(found) > 1:
            packages = " and ".join(image.package for image in found)
            raise ImageError(
                f"{packages} both bring an image {name!r}", hint=f"pip uninstall {found[0].package}"
            )
        return found[0]

    def _fitting(self, image: GuestImage, name: str) -> GuestImage:
        """Return an image if it is of this name, for this host, and has the manifest it had."""
        manifest = self.manifest(image)
        here = _ARCHITECTURES.get(platform.machine(), platform.machine())
        if manifest.architecture != here:
            raise ImageError(
                f"image {name!r} is for {manifest.architecture} processors, and this host has "
                f"{here}",
                hint=_mend(name),
            )
        if image.package and manifest.name != name:
            raise _bad(image, "manifest.json", f"it is of an image {manifest.name!r}")
        return image

    def _intact(self, image: GuestImage) -> bool:
        try:
            self.verify(image)
        except ImageError:
            return False
        return True

    def _pointed(self, name: str) -> str:
        try:
            return self.current(name).digest
        except ImageError:
            return ""

    def _point(self, home: Path, digest: str) -> None:
        fresh = home / f"{_UNFINISHED}{secrets.token_hex(4)}"
        _write(fresh, f"{digest}\n".encode())
        fresh.replace(home / _CURRENT)
        _sync(home)


def _mend(name: str) -> str:
    return _BUILD if name == "default" else f"{_BUILD} {name}"


def _bad(image: GuestImage, name: str, reason: str) -> ImageError:
    hint = _mend(image.directory.parent.name)
    if image.package:
        hint = f"pip install --force-reinstall {image.package}"
    return ImageError(f"{name} of image {image.digest[:12]} is damaged: {reason}", hint=hint)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _sync(path: Path) -> None:
    """Make a file or directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
