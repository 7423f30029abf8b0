"""From what is wanted to files in the image, with a directory in place of the build machine."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from indexes import npm_package, served, wheel
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSymlink,
)
from luminaguard.errors import ImageError
from luminaguard.image.additions.gather import Additions, Wanted, gather, install, left_out
from luminaguard.image.additions.npmlock import NpmLock, NpmPackage
from luminaguard.image.additions.npmrc import NpmConfig
from luminaguard.image.additions.tarballs import Tarballs
from luminaguard.image.additions.wheels import Wheel
from luminaguard.image.apt import file_name
from luminaguard.image.contents import contents_of
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import KernelRecord, Manifest, PackageKind, PackageRecord
from luminaguard.image.store import ImageStore
from luminaguard.image.tree import Tree
from luminaguard.image.unused import forget_unused

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("sqfstar") or not shutil.which("unsquashfs"),
    reason="needs squashfs-tools on Linux",
)
PYTHON = f"3.{sys.version_info.minor}"
PACKAGES = f"usr/local/lib/python{PYTHON}/dist-packages"


class DirectoryBench:
    """Runs the installer in a directory of this host: only for packages that tests made."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.runs = 0

    def run(
        self,
        image: GuestImage,
        disk: Path,
        command: Sequence[str],
        take: Callable[[UpperRecord], None],
    ) -> GuestReport:
        assert image.rootfs.exists()
        self.runs += 1
        root = self._place / f"disk-{self.runs}"
        subprocess.run(["unsquashfs", "-q", "-n", "-d", root, disk], check=True, timeout=60)
        done = subprocess.run(
            [sys.executable, *command[1:]], cwd=root, capture_output=True, timeout=60, check=False
        )
        if done.returncode == 0:
            take(UpperDirectory(b"", 0o755, opaque=False, redirect=None))
            for path in (root / "out", *sorted((root / "out").rglob("*"))):
                _tell(path, path.relative_to(root).as_posix().encode(), take)
        return GuestReport(ended=Ended.EXITED, exit_code=done.returncode, stderr=done.stderr)


def _tell(path: Path, name: bytes, take: Callable[[UpperRecord], None]) -> None:
    status = path.lstat()
    if path.is_symlink():
        take(UpperSymlink(name, os.readlink(path).encode()))
    elif path.is_dir():
        take(UpperDirectory(name, stat.S_IMODE(status.st_mode), opaque=False, redirect=None))
    else:
        take(UpperFile(name, stat.S_IMODE(status.st_mode), status.st_size, status.st_mtime_ns))
        if status.st_size:
            take(FileBytes(0, path.read_bytes()))


@pytest.fixture
def bench(tmp_path) -> DirectoryBench:
    return DirectoryBench(tmp_path)


def root_of(place: Path) -> Tree:
    (place / "root").mkdir(parents=True)
    (place / "out").mkdir()
    (place / "out/rootfs").write_bytes(b"base")
    tree = Tree(place / "root")
    tree.file(f"usr/bin/python{PYTHON}", b"")
    return tree


def fetched(place: Path, package: tuple[str, bytes]) -> Wheel:
    place.mkdir(exist_ok=True)
    (place / package[0]).write_bytes(package[1])
    name, version = package[0].split("-")[:2]
    digest = hashlib.sha256(package[1]).hexdigest()
    return Wheel(name=name, version=version, sha256=digest, path=place / package[0])


def npm(name: str, content: bytes, path: str = "", **more) -> NpmPackage:
    return NpmPackage(
        path=path or f"node_modules/{name}",
        name=name,
        version="1.0.0",
        sha512=hashlib.sha512(content).hexdigest(),
        **more,
    )


@pytest.fixture
def additions(tmp_path) -> Additions:
    tool = npm_package("npm", {"bin/cli.js": b"#!/usr/bin/env node\n"})
    top, deep = npm_package("@s/top", {"run.js": b"1"}), npm_package("deep", {"x.js": b"2"})
    nested = "node_modules/@s/top/node_modules/deep"
    lock = NpmLock(
        packages=(
            npm("@s/top", top, bins=(("top", "run.js"),)),
            npm("deep", deep, nested, bins=(("deep", "x.js"),)),
        )
    )
    with served() as index:
        index.files = {
            "/npm/-/npm-1.0.0.tgz": tool,
            "/@s/top/-/top-1.0.0.tgz": top,
            "/deep/-/deep-1.0.0.tgz": deep,
        }
        wanted = Wanted(npm=lock, npm_itself=npm("npm", tool, bins=(("npm", "bin/cli.js"),)))
        config = NpmConfig(values={"registry": index.address})
        fetched_npm = gather(wanted, None, Tarballs(tmp_path / "npm", config), lambda *_: None)
    files = {"pkg/__init__.py": b"x = {'a', 'b', 'c'}\n", "pkg/data.bin": b"\0" * 5000}
    made = fetched(tmp_path / "wheels", wheel("pkg", files=files, scripts={"pkg": "pkg:main"}))
    return Additions(wheels=(made,), npm=fetched_npm.npm)


def test_packages_lie_where_python_and_node_look_for_them(additions, bench, tmp_path) -> None:
    tree = root_of(tmp_path / "a")
    install(additions, tree, tmp_path / "a/out", workbench=bench)
    nodes = dict(tree)
    modules = "usr/local/lib/luminaguard/node_modules"
    assert f"{PACKAGES}/pkg/__init__.py" in tree
    assert tree.content(f"{PACKAGES}/pkg/data.bin").read_bytes() == b"\0" * 5000
    assert nodes["usr/local/bin/pkg"].mode == stat.S_IFREG | 0o755
    assert nodes[f"{modules}/.bin/top"].target == "../@s/top/run.js"
    assert nodes[f"{modules}/@s/top/node_modules/.bin/deep"].target == "../deep/x.js"
    assert nodes["usr/local/bin/npm"].target == "../lib/node_modules/npm/bin/cli.js"
    assert nodes["node_modules"].target == modules
    contents = contents_of(tree)
    assert contents.python == PYTHON
    assert contents.distributions == {"pkg": "1.0"}
    assert contents.node_modules == ("@s/top",)
    assert contents.node_commands == ("top",)
    assert {"npm", "pkg"} <= set(contents.programs)
    assert not (tmp_path / "a/additions.squashfs").exists()


def test_the_same_packages_give_the_same_bytes(additions, bench, tmp_path) -> None:
    trees = []
    for name in ("a", "b"):
        tree = root_of(tmp_path / name)
        install(additions, tree, tmp_path / name / "out", workbench=bench)
        files = {path: tree.content(path).read_bytes() for path in tree.files("*")}
        trees.append((dict(tree), files))
    assert trees[0] == trees[1]
    assert any(path.endswith(".pyc") for path in trees[0][1])


def test_a_package_that_cannot_be_installed_is_named(bench, tmp_path) -> None:
    bad = fetched(tmp_path / "wheels", ("bad-1.0-py3-none-any.whl", b"no archive"))
    tree = root_of(tmp_path / "a")
    with pytest.raises(ImageError, match=r"cannot be installed: 'bad-1\.0-py3-none-any\.whl"):
        install(Additions(wheels=(bad,)), tree, tmp_path / "a/out", workbench=bench)


def test_records_name_every_package_with_its_hash(additions) -> None:
    records = additions.records("amd64")
    assert {(each.kind, each.name) for each in records} == {
        (PackageKind.WHEEL, "pkg"), (PackageKind.NPM, "npm"), (PackageKind.NPM, "@s/top"),
        (PackageKind.NPM, "deep"),
    }  # fmt: skip
    digests = {each.name: each.sha256 for each in records}
    assert digests["pkg"] == additions.wheels[0].sha256
    tarballs = {each.package.name: each.tarball for each in additions.npm}
    assert digests["deep"] == hashlib.sha256(tarballs["deep"].read_bytes()).hexdigest()


def test_another_package_or_place_gives_other_inputs(additions) -> None:
    assert Additions().inputs == []
    assert additions.inputs != Additions(npm=additions.npm).inputs
    assert additions.inputs != Additions(wheels=additions.wheels).inputs


def test_what_an_image_does_not_hold_is_said() -> None:
    assert left_out(Wanted()) == []
    many = tuple(f"p{number}" for number in range(10))
    notes = left_out(Wanted(npm=NpmLock(packages=(), with_scripts=("a",), unplaced=many)))
    assert notes[0] == "install scripts were not run: a"
    assert notes[1].endswith("p7 and 2 more")


def test_the_cache_keeps_what_images_were_made_from(tmp_path, additions) -> None:
    store = ImageStore(tmp_path)
    (tmp_path / "packages").mkdir()
    kept_deb = tmp_path / "packages" / file_name("kept", "1", "all")
    for path in (kept_deb, tmp_path / "packages/gone_1_all.deb"):
        path.write_bytes(b"x")
    wheels = tmp_path / "wheels"
    home = wheels / additions.wheels[0].sha256
    home.mkdir()
    (wheels / ("0" * 64)).mkdir()
    deb = PackageRecord(name="kept", version="1", architecture="all", sha256="0" * 64)
    records = (deb, *(each for each in additions.records("amd64") if each.name != "deep"))
    publish(store, records)
    forget_unused(store)
    assert [path.name for path in (tmp_path / "packages").iterdir()] == [kept_deb.name]
    assert home.exists()
    assert not (wheels / ("0" * 64)).exists()
    assert len(list((tmp_path / "npm").glob("*.tgz"))) == 2
    assert store.remove("default") > 0
    assert store.names() == ()
    forget_unused(store)
    assert not list((tmp_path / "npm").glob("*.tgz"))
    with pytest.raises(ImageError, match="no guest image"):
        store.remove("default")


def test_nothing_is_forgotten_while_an_image_cannot_be_read(tmp_path) -> None:
    store = ImageStore(tmp_path)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/some_1_all.deb").write_bytes(b"x")
    publish(store, ())
    next(tmp_path.glob("images/default/*/manifest.json")).write_text("damaged")
    forget_unused(store)
    assert (tmp_path / "packages/some_1_all.deb").exists()


def publish(store: ImageStore, records: tuple[PackageRecord, ...]) -> None:
    manifest = Manifest(
        name="default",
        recipe_version=1,
        inputs="i",
        distribution="debian",
        architecture="amd64",
        kernel=KernelRecord(version="6.1", modules=(), builtin=()),
        packages=records,
        artifacts={},
    )
    with store.workshop("default") as place:
        (place / "out").mkdir()
        store.publish("default", place / "out", manifest)


def test_a_manifest_of_the_format_before_is_still_read() -> None:
    old = (
        b'{"format": 1, "name": "default", "recipe_version": 1, "inputs": "i", "distribution": "d",'
        b'"architecture": "amd64", "artifacts": {}, "kernel": {"version": "6", "modules": [],'
        b'"builtin": []}, "packages": [{"name": "a", "version": "1", "architecture": "all",'
        b'"sha256": "0"}]}'
    )
    manifest = Manifest.from_bytes(old)
    assert manifest.packages[0].kind is PackageKind.DEB
    assert manifest.contents.programs == ()
    with pytest.raises(ImageError, match="another format") as caught:
        Manifest.from_bytes(old.replace(b'"format": 1', b'"format": 99'))
    assert caught.value.hint == "luminaguard image build"
