"""What can go wrong before and while an image is built, and what is said then."""

import fcntl
import json
import platform
import shutil
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from luminaguard.cli.image import image as commands
from luminaguard.errors import ImageError
from luminaguard.image import space
from luminaguard.image.additions.gather import Additions
from luminaguard.image.additions.wheels import Wheel
from luminaguard.image.build import build, installer
from luminaguard.image.recipe import host_distribution, load_recipe
from luminaguard.image.store import ImageStore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="images are built on Linux")
needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg-deb", "sqfstar", "secilc"))),
    reason="needs apt-get, dpkg-deb, sqfstar and secilc",
)


@pytest.fixture
def store(tmp_path):
    return ImageStore(tmp_path / "cache")


@pytest.fixture
def debian(monkeypatch):
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})


def quiet(_stage, _done) -> None:
    pass


@pytest.mark.parametrize(
    ("present", "hint"),
    [
        ((), "apt-get install apt"),
        (("apt-get",), "apt-get install dpkg"),
        (("apt-get", "dpkg-deb"), "apt-get install squashfs-tools"),
        (("apt-get", "dpkg-deb", "sqfstar"), "apt-get install secilc"),
    ],
)
def test_a_missing_tool_is_named_with_the_command_that_brings_it(
    debian, store, tmp_path, monkeypatch, present, hint
) -> None:
    for tool in present:
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="is not installed") as caught:
        build(store, load_recipe(), quiet)
    assert caught.value.hint == hint


@needs_tools
def test_a_disk_without_room_is_found_before_any_work(debian, store, monkeypatch) -> None:
    usage = types.SimpleNamespace(total=10**9, used=10**9 - 1000, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ImageError, match=r"needs about 256 MB, and .* has 1 MB left") as caught:
        build(store, load_recipe(), quiet)
    assert "LUMINAGUARD_CACHE_DIR" in (caught.value.hint or "")


def test_a_disk_that_fills_up_meanwhile_is_told_as_that() -> None:
    # Unbuffered: the write itself meets the full disk.
    with (
        open("/dev/full", "wb", buffering=0) as disk,
        pytest.raises(ImageError, match="is full"),
        space.explained(),
    ):
        disk.write(b"x")


def test_other_failures_of_the_disk_stay_what_they_are(tmp_path) -> None:
    with pytest.raises(FileNotFoundError), space.explained():
        (tmp_path / "missing").read_bytes()


@needs_tools
def test_two_builds_do_not_run_at_once(debian, store) -> None:
    store.cache_dir.mkdir()
    with (store.cache_dir / "image-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ImageError, match="another image build is running"):
            build(store, load_recipe(), quiet, patience_s=0.0)


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_a_host_that_cannot_build_says_so(monkeypatch, system) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    with pytest.raises(ImageError, match=f"{system} cannot build") as caught:
        host_distribution()
    assert "Debian" in (caught.value.hint or "")


def test_a_linux_without_apt_is_named(monkeypatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "fedora"})
    with pytest.raises(ImageError, match="fedora cannot build"):
        host_distribution()


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"ID": "debian"}, "debian"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "ubuntu"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "ubuntu"),
    ],
)
def test_a_derived_distribution_builds_like_its_parent(monkeypatch, release, expected) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    assert host_distribution() == expected


@pytest.mark.parametrize("distribution", ["debian", "ubuntu"])
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_each_supported_host_has_a_kernel(distribution, architecture) -> None:
    assert load_recipe().kernel_package(distribution, architecture).startswith("linux-image-")


def test_an_unknown_host_is_told_where_images_can_be_built() -> None:
    with pytest.raises(ImageError, match="no guest kernel") as caught:
        load_recipe().kernel_package("debian", "riscv64")
    assert "debian (amd64/arm64)" in (caught.value.hint or "")


def test_a_package_asked_for_is_taken_even_if_it_is_left_out_by_default() -> None:
    assert not load_recipe().takes("perl")
    recipe = load_recipe(packages=("perl", "perl-modules-5.36"))
    assert recipe.takes("perl")
    assert "perl" in recipe.packages


@pytest.mark.parametrize("name", ["-oAPT::Sandbox::User=x", "--yes", "a b", "", "X", "a=1"])
def test_what_cannot_name_a_package_never_reaches_apt(name) -> None:
    with pytest.raises(ImageError, match="cannot be the name"):
        load_recipe(packages=(name,))


def test_the_command_line_shows_the_hint_of_an_empty_store(tmp_path) -> None:
    settings = types.SimpleNamespace(cache_dir=tmp_path)
    listed = CliRunner().invoke(commands, ["list"], obj=settings)
    assert listed.output == "no images; make one with: luminaguard image build\n"
    as_json = CliRunner().invoke(commands, ["list", "--json"], obj=settings)
    assert json.loads(as_json.output) == {"images": []}
    verified = CliRunner().invoke(commands, ["verify"], obj=settings)
    assert isinstance(verified.exception, ImageError)


def test_added_packages_without_a_machine_to_install_them_in_are_refused() -> None:
    additions = Additions(
        wheels=(Wheel(name="a", version="1", sha256="0", path=Path("a-any.whl")),)
    )
    with pytest.raises(ImageError, match="need a machine"):
        installer(additions, None, quiet)
    assert installer(Additions(), None, quiet) is None


def test_a_requirement_file_that_cannot_be_read_ends_the_build_before_it_begins(tmp_path) -> None:
    settings = types.SimpleNamespace(cache_dir=tmp_path / "cache")
    for option in ("--requirements", "--npm"):
        command = ["build", option, str(tmp_path / "missing")]
        error = CliRunner().invoke(commands, command, obj=settings).exception
        assert isinstance(error, ImageError)
        assert "cannot be read" in str(error)
    assert not (tmp_path / "cache").exists()


def test_npm_packages_bring_node_without_it_counting_as_asked_for() -> None:
    recipe = load_recipe(packages=("jq",), needed=("nodejs",))
    assert {"jq", "nodejs"} <= set(recipe.packages)
    assert recipe.asked == ("jq",)
