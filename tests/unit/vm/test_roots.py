"""Unpacked images: used while they are what was unpacked, made anew otherwise, and collected."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from luminaguard.errors import ImageError, VmError
from luminaguard.image.assemble import record
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import KernelRecord, Manifest
from luminaguard.vm.roots import Roots

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="images are unpacked on Linux"),
    pytest.mark.skipif(
        shutil.which("mksquashfs") is None, reason="mksquashfs is not installed: squashfs-tools"
    ),
]


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], GuestImage]:
    """Make an image whose root says who it is."""

    def made(name: str) -> GuestImage:
        directory = tmp_path / "images" / name
        tree = directory / "tree"
        (tree / "folder").mkdir(parents=True)
        (tree / "folder" / "name").write_text(name)
        (tree / "link").symlink_to("folder")
        command = ["mksquashfs", tree, directory / "rootfs", "-quiet", "-no-progress"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        manifest = Manifest(
            name=name,
            recipe_version=1,
            inputs="i",
            distribution="debian",
            architecture="amd64",
            kernel=KernelRecord(version="6.1", modules=(), builtin=()),
            packages=(),
            artifacts={"rootfs": record(directory / "rootfs")},
        )
        (directory / "manifest.json").write_bytes(manifest.to_bytes())
        return GuestImage(directory=directory, digest=manifest.digest)

    return made


@pytest.fixture
def roots(tmp_path: Path) -> Generator[Callable[[], Roots]]:
    """Give one more process's view of the cache."""
    opened: list[Roots] = []

    def another() -> Roots:
        opened.append(Roots(tmp_path / "cache"))
        return opened[-1]

    yield another
    for one in opened:
        one.close()


def said(root: Path) -> str:
    return (root / "folder" / "name").read_text()


async def test_a_root_is_unpacked_once_and_shared(
    make: Callable[[str], GuestImage], roots: Callable[[], Roots]
) -> None:
    image = make("one")
    first = await roots().of(image)
    about = (first / "folder").stat()
    assert said(first) == "one"
    second = await roots().of(image)
    assert second == first
    assert (second / "folder").stat().st_ino == about.st_ino


def write(root: Path) -> None:
    file = root / "folder" / "name"
    about = file.stat()
    file.write_text("two")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        write,
        lambda root: (root / "more").write_text("more"),
        lambda root: (root / "link").unlink(),
        lambda root: (root / "folder").chmod(0o777),
        lambda root: (root.with_name(root.name + ".seal")).unlink(),
        lambda root: (root.with_name(root.name + ".seal")).write_text("[]"),
    ],
    ids=["a file, with its old times", "an addition", "a removal", "a mode", "no seal", "no JSON"],
)
async def test_a_root_that_was_changed_is_never_used(
    make: Callable[[str], GuestImage],
    roots: Callable[[], Roots],
    change: Callable[[Path], object],
) -> None:
    image = make("one")
    first = roots()
    root = await first.of(image)
    first.close()
    change(root)
    again = await roots().of(image)
    assert said(again) == "one"
    assert sorted(os.listdir(again)) == ["folder", "link"]
    assert (again / "folder").stat().st_mode & 0o777 != 0o777
    await roots().of(image)
    assert len(list(again.parent.glob(".changed-*"))) == 0


async def test_a_changed_root_is_taken_from_nobody_who_uses_it(
    make: Callable[[str], GuestImage], roots: Callable[[], Roots]
) -> None:
    image = make("one")
    in_use = await roots().of(image)
    inode = in_use.stat().st_ino
    (in_use / "more").touch()
    assert sorted(os.listdir(await roots().of(image))) == ["folder", "link"]
    kept = [place for place in in_use.parent.glob(".changed-*") if place.stat().st_ino == inode]
    assert [said(place) for place in kept] == ["one"]


async def test_old_roots_are_collected_and_those_in_use_are_not(
    make: Callable[[str], GuestImage], roots: Callable[[], Roots]
) -> None:
    images = [make(name) for name in ("one", "two", "three", "four")]
    holder = roots()
    held = await holder.of(images[0])
    last = held
    for image in images[1:]:
        other = roots()
        last = await other.of(image)
        other.close()
    assert {place.name for place in held.parent.iterdir() if place.is_dir()} == {
        images[0].digest,
        images[2].digest,
        images[3].digest,
    }
    assert said(held) == "one"
    assert said(last) == "four"
    holder.close()
    await roots().of(images[3])
    left = {place.name for place in held.parent.iterdir() if not place.name.startswith(".")}
    assert left == {name for one in images[2:] for name in (one.digest, f"{one.digest}.seal")}


async def test_what_a_killed_process_was_unpacking_goes(
    make: Callable[[str], GuestImage], roots: Callable[[], Roots], tmp_path: Path
) -> None:
    left = tmp_path / "cache" / "roots" / ".unpacking-dead"
    left.mkdir(parents=True)
    for place in (left.parent.parent, left.parent):
        place.chmod(0o700)
    (left.parent / ".unpacking-seal").touch()
    await roots().of(make("one"))
    assert list(left.parent.glob(".unpacking-*")) == []


async def test_what_a_variant_adds_is_in_no_other_root(
    make: Callable[[str], GuestImage], roots: Callable[[], Roots]
) -> None:
    image = make("one")
    plain = await roots().of(image)
    other = await roots().of(
        image, variant="-more", addition=lambda root: (root / "more").write_text("more")
    )
    assert other != plain
    assert (other / "more").exists()
    assert not (plain / "more").exists()


async def test_an_image_that_is_not_whole_gives_no_root(
    make: Callable[[str], GuestImage], roots: Callable[[], Roots]
) -> None:
    image = make("one")
    image.rootfs.write_bytes(image.rootfs.read_bytes() + b"x")
    with pytest.raises(ImageError):
        await roots().of(image)


async def test_a_place_that_others_may_enter_is_refused(
    make: Callable[[str], GuestImage], roots: Callable[[], Roots], tmp_path: Path
) -> None:
    (tmp_path / "cache" / "roots").mkdir(parents=True)
    (tmp_path / "cache" / "roots").chmod(0o755)
    with pytest.raises(VmError, match="others may enter"):
        await roots().of(make("one"))
