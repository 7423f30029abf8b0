"""Where images live, and that damage is found."""

import pytest

from luminaguard.errors import ImageError
from luminaguard.image.assemble import record
from luminaguard.image.build import host_architecture
from luminaguard.image.manifest import KernelRecord, Manifest, PackageRecord
from luminaguard.image.store import ImageStore

FILES = ("kernel", "initrd", "rootfs")


def manifest_of(directory, *, inputs="i") -> Manifest:
    return Manifest(
        name="default",
        recipe_version=1,
        inputs=inputs,
        distribution="debian",
        architecture=host_architecture(),
        kernel=KernelRecord(version="6.1", modules=("virtio", "virtio_blk"), builtin=("ext4",)),
        packages=(PackageRecord(name="bash", version="5", architecture="amd64", sha256="0" * 64),),
        artifacts={name: record(directory / name) for name in FILES},
    )


def publish(store, content="x", name="default"):
    with store.workshop(name) as place:
        out = place / "out"
        out.mkdir()
        for file in FILES:
            (out / file).write_text(f"{file} {content}")
        return store.publish(name, out, manifest_of(out, inputs=content))


@pytest.fixture
def store(tmp_path):
    return ImageStore(tmp_path / "cache")


def test_without_an_image_the_way_to_one_is_named(store) -> None:
    with pytest.raises(ImageError, match="no guest image") as caught:
        store.current()
    assert caught.value.hint == "luminaguard image build"


def test_a_published_image_is_current_listed_and_intact(store) -> None:
    image = publish(store)
    assert store.current() == image
    assert store.list() == (image,)
    store.verify(image)
    assert image.kernel.read_text() == "kernel x"


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_found_and_its_file_named(store, name) -> None:
    image = publish(store)
    path = image.directory / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"^{name} of image .* SHA-256") as caught:
        store.verify(image)
    assert caught.value.hint == "luminaguard image build"


def test_a_truncated_file_is_found(store) -> None:
    image = publish(store)
    image.rootfs.write_text("r")
    with pytest.raises(ImageError, match=r"^rootfs .* 1 bytes instead of 8"):
        store.verify(image)


def test_a_missing_file_is_found(store) -> None:
    image = publish(store)
    image.initrd.unlink()
    with pytest.raises(ImageError, match=r"^initrd of image"):
        store.verify(image)


def test_a_manifest_that_was_adapted_to_a_changed_file_is_found(store) -> None:
    image = publish(store)
    image.rootfs.write_text("evil")
    image.manifest.write_bytes(manifest_of(image.directory, inputs="x").to_bytes())
    with pytest.raises(ImageError, match=r"^manifest\.json of image"):
        store.current()
    with pytest.raises(ImageError, match=r"^manifest\.json of image"):
        store.verify(image)


def test_publishing_mends_a_damaged_image_of_the_same_digest(store) -> None:
    image = publish(store)
    image.kernel.write_text("broken")
    assert publish(store) == image
    store.verify(image)


def test_the_image_before_the_current_one_stays_and_older_ones_go(store) -> None:
    first, second, third = (publish(store, content) for content in "abc")
    assert store.current() == third
    assert set(store.list()) == {second, third}
    assert not first.directory.exists()


def test_names_are_kept_apart(store) -> None:
    first, other = publish(store, "a"), publish(store, "b", name="other")
    assert store.current() == first
    assert store.current("other") == other


def test_an_image_can_be_removed_with_all_its_versions(store, tmp_path) -> None:
    for content in "ab":
        publish(store, content, name="other")
    kept = publish(store)
    assert store.names() == ("default", "other")
    assert store.remove("other") > 0
    assert store.list() == (kept,)
    assert store.names() == ("default",)
    with pytest.raises(ImageError, match="no guest image 'other'") as caught:
        store.current("other")
    assert caught.value.hint == "luminaguard image build other"


def test_what_a_killed_removal_left_is_no_image_and_is_swept_away(store, tmp_path) -> None:
    image = publish(store)
    left = tmp_path / "cache/images/.removed-0000"
    image.directory.parent.rename(left)
    assert store.list() == ()
    assert store.names() == ()
    store.sweep()
    assert not left.exists()


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "Upper", "x" * 65])
def test_a_name_cannot_be_a_path(store, name) -> None:
    with pytest.raises(ImageError, match="cannot name an image"):
        store.current(name)


def test_a_build_that_fails_leaves_nothing(store, tmp_path) -> None:
    def fail() -> None:
        with store.workshop("default") as place:
            (place / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "cache/images/default").iterdir()) == []


def test_what_a_killed_build_left_is_swept_away(store, tmp_path) -> None:
    image = publish(store)
    left = image.directory.parent / ".building-0000"
    left.mkdir()
    (left / "half").write_text("x")
    store.sweep()
    assert not left.exists()
    assert store.current() == image


def test_the_same_facts_give_the_same_manifest_and_digest(store) -> None:
    image = publish(store)
    manifest = store.manifest(image)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert manifest.digest == image.digest
    assert Manifest.from_bytes(manifest.to_bytes()).to_bytes() == image.manifest.read_bytes()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1}', b"\xff"]
)
def test_a_damaged_manifest_is_refused(content) -> None:
    with pytest.raises(ImageError, match="manifest is"):
        Manifest.from_bytes(content)
