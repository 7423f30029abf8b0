"""What machines boot from is made once, looked at before use, and made anew when it was changed."""

import os
from pathlib import Path

import pytest

from fcdouble.fixtures import double_image
from luminaguard.errors import ImageError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.firecracker.backend import FirecrackerHypervisor
from luminaguard.vm.backends.firecracker.files import BootFileStore
from luminaguard.vm.hardening import RELAXED, STRICT

pytestmark = pytest.mark.anyio


class World:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.image = double_image(base / "image")
        self.checked: list[GuestImage] = []

    def store(self) -> BootFileStore:
        return BootFileStore(self.base / "cache", self.checked.append)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_files_are_made_once_from_a_checked_image(world: World) -> None:
    files = await world.store().ready(world.image, STRICT)
    assert files.kernel.read_bytes() == world.image.kernel.read_bytes()
    assert files.root.read_bytes() == world.image.rootfs.read_bytes()
    assert files.initrd.read_bytes().startswith(world.image.initrd.read_bytes())
    assert {path.stat().st_mode & 0o777 for path in files.all} == {0o444}
    assert await world.store().ready(world.image, STRICT) == files
    assert len(world.checked) == 1


async def test_each_profile_has_a_ram_disk_of_its_own(world: World) -> None:
    store = world.store()
    strict = await store.ready(world.image, STRICT)
    relaxed = await store.ready(world.image, RELAXED)
    assert strict.initrd.read_bytes() != relaxed.initrd.read_bytes()


@pytest.mark.parametrize("name", ["kernel", "initrd", "root"])
async def test_a_file_that_was_changed_is_never_booted(world: World, name: str) -> None:
    store = world.store()
    files = await store.ready(world.image, STRICT)
    wanted = [path.read_bytes() for path in files.all]
    for another in (store, world.store()):
        target = files.directory / name
        os.chmod(target, 0o644)
        target.write_bytes(b"\x7fELF of somebody else")
        again = await another.ready(world.image, STRICT)
        assert [path.read_bytes() for path in again.all] == wanted


async def test_an_image_that_is_not_whole_is_refused(world: World, tmp_path: Path) -> None:
    hypervisor = FirecrackerHypervisor(tmp_path / "other", tmp_path / "run", image=world.image)
    with pytest.raises(ImageError):
        await hypervisor._files.ready(world.image, STRICT)
    assert not list((tmp_path / "other/firecracker/files").glob("[!.]*"))
    hypervisor.close()


async def test_a_kernel_that_cannot_be_unpacked_leaves_nothing_half_made(world: World) -> None:
    world.image.kernel.write_bytes(b"no kernel")
    with pytest.raises(ImageError, match="neither"):
        await world.store().ready(world.image, STRICT)
    assert not list((world.base / "cache/firecracker/files").glob("[!.]*"))
    assert not list((world.base / "cache/firecracker/files").glob(".making-*"))
