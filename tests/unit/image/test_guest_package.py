"""An image as an installed package: made the same twice, found, and believed only when whole."""

import dataclasses
import importlib
import json
import shutil
import subprocess
import sys
import types
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from debs import member, write_deb
from luminaguard.cli.image import image as commands
from luminaguard.errors import ImageError
from luminaguard.image.assemble import record
from luminaguard.image.build import host_architecture
from luminaguard.image.manifest import KernelRecord, Manifest, PackageKind, PackageRecord
from luminaguard.image.store import ImageStore

TOOLS = Path(__file__).resolve().parents[3] / "tools"
FILES = ("kernel", "initrd", "rootfs", "apparmor.policy", "selinux.policy")
DOC = "./usr/share/doc"
DEBS = {
    "base": [
        member(f"{DOC}/base/copyright", b"base: GPL-2"),
        member("./usr/share/common-licenses/GPL-2", b"the GPL"),
        member("./usr/share/common-licenses/GPL", type=b"2", linkname="GPL-2"),
    ],
    "lib": [member(f"{DOC}/lib", type=b"2", linkname="base")],
}

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("guest_package")


@pytest.fixture
def store(tmp_path):
    """A store with a tiny image and the packages it says it was made from."""
    store = ImageStore(tmp_path / "cache")
    (store.cache_dir / "packages").mkdir(parents=True)
    records = []
    for name, members in DEBS.items():
        path = store.cache_dir / f"packages/{name}_1.0_all.deb"
        write_deb(path, members, name=name, depends="x\nBuilt-Using: glibc (= 2.36-9)")
        digest = sha256(path.read_bytes()).hexdigest()
        records.append(PackageRecord(name=name, version="1.0", architecture="all", sha256=digest))
    publish(store, tuple(records))
    return store


def publish(store, packages, **changes) -> None:
    with store.workshop("default") as place:
        out = place / "out"
        out.mkdir()
        for file in FILES:
            (out / file).write_text(f"content of {file}")
        manifest = Manifest(
            name="default",
            recipe_version=1,
            inputs="i",
            distribution="debian",
            architecture=host_architecture(),
            kernel=KernelRecord(version="6.1", modules=(), builtin=()),
            packages=packages,
            artifacts={name: record(out / name) for name in FILES},
        )
        store.publish("default", out, dataclasses.replace(manifest, **changes))


def install(wheel, target) -> Path:
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, timeout=60)
    return next(target.glob("luminaguard_guest_image*/*/manifest.json")).parent


@pytest.fixture
def installed(tool, store, tmp_path, monkeypatch):
    """The directory of the image in an installed package; the store beside it is empty."""
    wheel = tool.make(store, "default", tmp_path / "out", number="1.2")
    place = install(wheel, tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return place


@pytest.fixture
def elsewhere(tmp_path):
    return ImageStore(tmp_path / "elsewhere")


def test_the_same_image_gives_the_same_bytes(tool, store, tmp_path) -> None:
    first, second = (tool.make(store, "default", tmp_path / each, number="1") for each in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert first.name == second.name


def test_licenses_and_sources_of_every_package_are_in_it(tool, store, tmp_path) -> None:
    path = tool.make(store, "default", tmp_path, number="1", contact="Ada <ada@example.test>")
    with zipfile.ZipFile(path) as wheel:
        home = "luminaguard_guest_image"
        assert wheel.read(f"{home}/LICENSES/base") == b"base: GPL-2"
        assert wheel.read(f"{home}/LICENSES/lib") == b"base: GPL-2"
        assert wheel.read(f"{home}/LICENSES/common/GPL") == b"the GPL"
        sources = wheel.read(f"{home}/SOURCES.txt").decode()
    assert sources.endswith("base 1.0: base\nglibc 2.36-9: in base, in lib\nlib 1.0: lib\n")
    assert "Written offer" in sources
    assert "Ada <ada@example.test>" in sources


def test_without_a_contact_no_offer_is_made(tool, store, tmp_path) -> None:
    path = tool.make(store, "default", tmp_path, number="1")
    with zipfile.ZipFile(path) as wheel:
        sources = wheel.read("luminaguard_guest_image/SOURCES.txt").decode()
    assert "No offer of source was made" in sources
    assert "Written offer" not in sources


def test_a_package_whose_license_cannot_be_read_stops_it(tool, store, tmp_path) -> None:
    (store.cache_dir / "packages/base_1.0_all.deb").unlink()
    with pytest.raises(ImageError, match=r"base_1\.0_all\.deb is not in the cache"):
        tool.make(store, "default", tmp_path / "out", number="1")
    assert not (tmp_path / "out").exists()


def test_parts_of_unknown_license_stop_it(tool, store, tmp_path) -> None:
    wheel = PackageRecord(
        name="w", version="1", architecture="any", sha256="0" * 64, kind=PackageKind.WHEEL
    )
    publish(store, (wheel,))
    with pytest.raises(ImageError, match="w is a wheel"):
        tool.make(store, "default", tmp_path / "out", number="1")


def test_pip_installs_it_and_the_store_finds_it(installed, elsewhere, store) -> None:
    image = elsewhere.current()
    assert image.directory == installed
    assert image.digest == store.current().digest
    assert image.package == "luminaguard-guest"
    assert elsewhere.names() == ("default",)
    elsewhere.verify(image)


def test_an_image_that_was_built_here_goes_first(installed, store) -> None:
    assert store.current().package == ""
    assert store.current().directory.is_relative_to(store.cache_dir)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_found_and_the_way_to_mend_it_named(installed, elsewhere, name) -> None:
    content = (installed / name).read_text()
    (installed / name).write_text(content.upper())
    with pytest.raises(ImageError, match=f"^{name} of image .* SHA-256") as caught:
        elsewhere.verify(elsewhere.current())
    assert caught.value.hint == "pip install --force-reinstall luminaguard-guest"


def test_a_changed_manifest_is_never_current(installed, elsewhere) -> None:
    manifest = installed / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    with pytest.raises(ImageError, match=r"^manifest\.json of image .* not the one"):
        elsewhere.current()


def test_a_package_without_an_image_is_refused(installed, elsewhere) -> None:
    shutil.rmtree(installed)
    with pytest.raises(ImageError, match=r"^manifest\.json of image"):
        elsewhere.current()


def test_an_image_for_other_processors_is_refused(installed, elsewhere, monkeypatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ImageError, match="processors, and this host has riscv64"):
        elsewhere.current()


def test_an_image_under_another_name_than_its_own_is_refused(installed, elsewhere) -> None:
    points = next(installed.parent.parent.glob("*.dist-info/entry_points.txt"))
    points.write_text(points.read_text().replace("default", "other"))
    with pytest.raises(ImageError, match="it is of an image 'default'"):
        elsewhere.current("other")


def test_an_entry_point_cannot_lead_out_of_its_package(installed, elsewhere, store) -> None:
    points = next(installed.parent.parent.glob("*.dist-info/entry_points.txt"))
    outside = f"../{store.current().directory.parent.relative_to(store.cache_dir.parent)}"
    points.write_text(f"[luminaguard.images]\ndefault = {outside}\n")
    with pytest.raises(ImageError, match="is damaged"):
        elsewhere.current()


def test_two_packages_for_one_name_are_refused(installed, elsewhere) -> None:
    info = next(installed.parent.parent.glob("*.dist-info"))
    twin = shutil.copytree(info, info.with_name("twin-1.dist-info"))
    (twin / "METADATA").write_text("Metadata-Version: 2.1\nName: twin\nVersion: 1\n")
    with pytest.raises(ImageError, match="luminaguard-guest and twin both bring"):
        elsewhere.current()


def test_it_is_listed_as_a_package_and_not_removed(installed, elsewhere) -> None:
    settings = types.SimpleNamespace(cache_dir=elsewhere.cache_dir)
    listed = CliRunner().invoke(commands, ["list", "--json"], obj=settings)
    (row,) = json.loads(listed.output)["images"]
    assert (row["name"], row["source"], row["current"]) == ("default", "package", True)
    assert row["damage"] is None
    assert "package\n" in CliRunner().invoke(commands, ["list"], obj=settings).output
    with pytest.raises(ImageError, match="the package luminaguard-guest brings it") as caught:
        elsewhere.remove("default")
    assert caught.value.hint == "pip uninstall luminaguard-guest"
    assert installed.is_dir()
