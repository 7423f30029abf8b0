"""Which kernel modules are loaded, and in what order."""

import gzip
import lzma
import shutil
import subprocess

import pytest

from luminaguard.errors import ImageError
from luminaguard.image.modules import ModuleLibrary, dependencies


def module(depends: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0retpoline=Y\0"


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-c"], input=content, capture_output=True, check=True).stdout


@pytest.fixture
def kernel(tmp_path):
    folder = tmp_path / "kernel/drivers"
    folder.mkdir(parents=True)
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/lib/crc-16.ko\n")
    (folder / "virtio_pci.ko").write_bytes(module("virtio-pci-legacy-dev,virtio"))
    (folder / "virtio-pci-legacy-dev.ko.xz").write_bytes(lzma.compress(module("")))
    (folder / "virtio.ko.gz").write_bytes(gzip.compress(module("virtio_ring")))
    (folder / "virtio_ring.ko").write_bytes(module(""))
    (folder / "virtio_blk.ko").write_bytes(module("virtio,virtio_ring,crc_16"))
    return tmp_path


def names(modules):
    return [name for name, _ in modules.files]


def test_everything_loads_after_what_it_needs_and_only_once(kernel) -> None:
    found = ModuleLibrary(kernel).resolve(["virtio_pci", "virtio_blk"])
    order = ["virtio_pci_legacy_dev", "virtio_ring", "virtio", "virtio_pci", "virtio_blk"]
    assert names(found) == order


def test_compressed_modules_come_out_ready_to_load(kernel) -> None:
    found = dict(ModuleLibrary(kernel).resolve(["virtio_pci"]).files)
    assert all(content.startswith(b"\x7fELF") for content in found.values())


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd to make the module")
def test_zstandard_modules_are_read(kernel) -> None:
    (kernel / "kernel/drivers/erofs.ko.zst").write_bytes(zstd(module("")))
    assert names(ModuleLibrary(kernel).resolve(["erofs"])) == ["erofs"]


def test_without_zstd_the_missing_tool_is_named(kernel, monkeypatch) -> None:
    (kernel / "kernel/drivers/erofs.ko.zst").write_bytes(b"x")
    monkeypatch.setenv("PATH", str(kernel))
    with pytest.raises(ImageError, match="zstd is not installed") as caught:
        ModuleLibrary(kernel).resolve(["erofs"])
    assert caught.value.hint == "apt-get install zstd"


def test_what_the_kernel_has_built_in_is_listed_and_not_loaded(kernel) -> None:
    found = ModuleLibrary(kernel).resolve(["ext4", "virtio_blk"])
    assert found.builtin == ("crc_16", "ext4")
    assert "ext4" not in names(found)


def test_a_driver_that_the_kernel_lacks_stops_the_build(kernel) -> None:
    with pytest.raises(ImageError, match="no module squashfs"):
        ModuleLibrary(kernel).resolve(["squashfs"])


def test_an_optional_driver_may_be_absent(kernel) -> None:
    assert names(ModuleLibrary(kernel).resolve([], ["virtio_rng"])) == []


def test_a_damaged_module_is_named(kernel) -> None:
    (kernel / "kernel/drivers/erofs.ko.xz").write_bytes(b"not xz")
    with pytest.raises(ImageError, match=r"erofs\.ko\.xz is damaged"):
        ModuleLibrary(kernel).resolve(["erofs"])


def test_dependencies_are_read_from_the_module_itself() -> None:
    assert dependencies(module("a,b-c")) == ("a", "b_c")
    assert dependencies(module("")) == ()
