"""An image is hashed when its files may have changed, and never trusted when they did."""

import os
from pathlib import Path

import pytest

from luminaguard.errors import ImageError
from luminaguard.image.assemble import record
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import KernelRecord, Manifest
from luminaguard.vm.imagecheck import ImageCheck

FILES = ("kernel", "initrd", "rootfs")


@pytest.fixture
def image(tmp_path: Path) -> GuestImage:
    directory = tmp_path / "image"
    directory.mkdir()
    for name in FILES:
        (directory / name).write_text(f"{name} as built")
    manifest = Manifest(
        name="default",
        recipe_version=1,
        inputs="i",
        distribution="debian",
        architecture="amd64",
        kernel=KernelRecord(version="6.1", modules=(), builtin=()),
        packages=(),
        artifacts={name: record(directory / name) for name in FILES},
    )
    (directory / "manifest.json").write_bytes(manifest.to_bytes())
    return GuestImage(directory=directory, digest=manifest.digest)


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    return tmp_path / "image-files"


def change(path: Path) -> None:
    """Change a byte as somebody would who hopes that nobody looks at more than size and time."""
    about = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_an_image_as_it_was_built_is_whole(image: GuestImage, noted: Path) -> None:
    ImageCheck().require(image, noted)
    assert noted.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_found_whatever_its_times_say(
    image: GuestImage, noted: Path, name: str
) -> None:
    check = ImageCheck()
    check.require(image, noted)
    change(image.directory / name)
    for look in (check, ImageCheck()):
        with pytest.raises(ImageError, match=name):
            look.require(image, noted)


def test_a_changed_file_stays_found(image: GuestImage, noted: Path) -> None:
    change(image.directory / "rootfs")
    for _ in range(2):
        with pytest.raises(ImageError, match="rootfs"):
            ImageCheck().require(image, noted)
    assert not noted.exists()


def test_a_missing_file_is_found(image: GuestImage, noted: Path) -> None:
    ImageCheck().require(image, noted)
    (image.directory / "initrd").unlink()
    with pytest.raises(ImageError, match="initrd"):
        ImageCheck().require(image, noted)


def test_a_file_that_was_only_touched_is_hashed_again_and_taken(
    image: GuestImage, noted: Path
) -> None:
    ImageCheck().require(image, noted)
    before = noted.read_text()
    os.utime(image.rootfs)
    ImageCheck().require(image, noted)
    assert noted.read_text() != before


def test_an_unchanged_image_is_not_hashed_again(image: GuestImage, noted: Path) -> None:
    ImageCheck().require(image, noted)
    image.rootfs.chmod(0)  # whoever is not root could not read it now; the note tells of a change
    about = noted.read_text()
    os.chmod(image.rootfs, 0o644)
    ImageCheck().require(image, noted)
    assert noted.read_text() != about
    again = noted.stat().st_mtime_ns
    ImageCheck().require(image, noted)
    assert noted.stat().st_mtime_ns == again


def test_a_note_that_was_made_up_saves_nobody(image: GuestImage, noted: Path) -> None:
    noted.write_text("anything")
    change(image.directory / "kernel")
    with pytest.raises(ImageError, match="kernel"):
        ImageCheck().require(image, noted)
