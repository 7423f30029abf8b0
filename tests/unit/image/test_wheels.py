"""Wheels come by the real pip from a real index; nothing of what is fetched ever runs."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from indexes import integrity, served, source_archive, wheel
from luminaguard.errors import ImageError
from luminaguard.image.additions.pipcomplaints import complaint_of
from luminaguard.image.additions.requirements import Requirements
from luminaguard.image.additions.wheels import Wheels, forget_wheels

pip = pytest.importorskip("pip", reason="needs pip in the environment of the tests")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="images are built on Linux")


class HostPython:
    """Stands in for the guest's interpreter, which is only there once packages are unpacked."""

    version = f"3.{sys.version_info.minor}"

    def run(
        self, *arguments: str, timeout_s: float, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-S", "-s", "-P", *arguments],
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture
def index(monkeypatch):
    with served() as index:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        for name, value in index.pip_environment().items():
            monkeypatch.setenv(name, value)
        yield index


@pytest.fixture
def wheels(tmp_path) -> Wheels:
    return wheels_in(tmp_path)


def wheels_in(tmp_path: Path, **more: int) -> Wheels:
    place = Path(pip.__file__).parent.parent
    return Wheels(tmp_path / "wheels", pip=place, python=HostPython(), **more)  # type: ignore[arg-type]


def asking(*lines: str, constraints: tuple[str, ...] = ()) -> Requirements:
    return Requirements(lines=lines, constraints=constraints)


def names(chosen) -> list[tuple[str, str]]:
    return [(each.name, each.version) for each in chosen[0]]


def test_wheels_are_fetched_with_all_that_they_need(index, wheels) -> None:
    index.add(wheel("top", requires=("dep >= 2",)), wheel("top", "0.5"))
    index.add(wheel("dep", "1.0"), wheel("dep", "2.5"), wheel("dep", "3.0"))
    chosen = wheels.choose(asking("top", constraints=("dep<3",)))
    assert names(chosen) == [("dep", "2.5"), ("top", "1.0")]
    assert chosen[1]
    assert chosen[0][0].path.read_bytes() == wheel("dep", "2.5")[1]


def test_without_the_index_the_same_wheels_come_from_the_cache(
    wheels, tmp_path, monkeypatch
) -> None:
    with served() as index:
        for name, value in index.pip_environment().items():
            monkeypatch.setenv(name, value)
        index.add(wheel("top"))
        first = wheels.choose(asking("top"))
    again = wheels.choose(asking("top"))
    assert again == (first[0], False)
    with pytest.raises(ImageError, match="index cannot be reached") as caught:
        wheels.choose(asking("other"))
    assert "pip config list" in (caught.value.hint or "")
    first[0][0].path.write_bytes(b"damaged")
    with pytest.raises(ImageError, match="index cannot be reached"):
        wheels.choose(asking("top"))


def test_one_silent_index_of_two_does_not_change_what_was_chosen(
    index, wheels, monkeypatch
) -> None:
    index.add(wheel("top", "1.0"))
    with served() as newer:
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{newer.address}/simple/")
        newer.add(wheel("top", "2.0"))
        first = wheels.choose(asking("top"))
    assert names(first) == [("top", "2.0")]
    assert wheels.choose(asking("top")) == (first[0], False)


def test_what_exists_only_as_source_is_refused_by_name_and_never_run(
    index, wheels, tmp_path
) -> None:
    mark = tmp_path / "ran"
    index.add(source_archive("sourceonly", f"open({str(mark)!r}, 'w')"))
    with pytest.raises(ImageError, match=r"sourceonly has no wheel for the guest's Python 3\."):
        wheels.choose(asking("sourceonly"))
    assert not mark.exists()


def test_a_wheel_cannot_make_pip_build_what_its_metadata_names_by_address(
    index, wheels, tmp_path
) -> None:
    mark = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "setup.py").write_text(
        f"open({str(mark)!r}, 'w')\nfrom setuptools import setup\nsetup(name='evil', version='1')\n"
    )
    index.add(wheel("innocent", requires=(f"evil @ file://{evil}",)))
    with pytest.raises(ImageError, match="would have to be built"):
        wheels.choose(asking("innocent"))
    assert not mark.exists()


def test_a_version_that_does_not_exist_is_not_taken_for_a_source(index, wheels) -> None:
    index.add(wheel("top"), source_archive("top", ""))
    with pytest.raises(ImageError, match=r"has top==99\.0 for the guest's Python"):
        wheels.choose(asking("top==99.0"))


def test_an_unknown_package_is_named(index, wheels) -> None:
    with pytest.raises(ImageError, match="has nosuch for the guest's Python"):
        wheels.choose(asking("nosuch"))


def test_contradictions_are_named(index, wheels) -> None:
    index.add(wheel("one", requires=("dep<2",)))
    index.add(wheel("two", requires=("dep>=2",)))
    index.add(wheel("dep", "1.0"), wheel("dep", "2.0"))
    with pytest.raises(ImageError, match="contradict each other: one and two"):
        wheels.choose(asking("one", "two"))


def test_a_wheel_with_another_hash_than_the_file_says_is_refused(index, wheels) -> None:
    index.add(wheel("top"))
    with pytest.raises(ImageError, match="not the one that the requirement file's hashes name"):
        wheels.choose(asking(f"top==1.0 --hash=sha256:{'0' * 64}"))


def test_hashes_for_some_packages_only_are_refused(index, wheels) -> None:
    index.add(wheel("top"))
    index.add(wheel("other"))
    digest = hashlib.sha256(wheel("top")[1]).hexdigest()
    with pytest.raises(ImageError, match="some requirements have hashes"):
        wheels.choose(asking(f"top==1.0 --hash=sha256:{digest}", "other==1.0"))


def test_a_wheel_of_absurd_size_ends_the_download(index, tmp_path) -> None:
    index.add(wheel("huge", files={"huge.bin": os.urandom(2 << 20)}))
    with pytest.raises(ImageError, match="larger than 1 MiB"):
        wheels_in(tmp_path, max_file_bytes=1 << 20).choose(asking("huge"))


def test_nothing_of_the_index_address_is_kept(index, wheels, tmp_path, monkeypatch) -> None:
    secret = index.address.replace("http://", "http://user:hunter2@")
    monkeypatch.setenv("PIP_INDEX_URL", f"{secret}/simple/")
    index.add(wheel("top"))
    wheels.choose(asking("top"))
    kept = [path for path in (tmp_path / "wheels").rglob("*") if path.is_file()]
    own = [path for path in kept if "pip" not in path.relative_to(tmp_path / "wheels").parts]
    assert own
    assert not any(b"hunter2" in path.read_bytes() for path in own)
    with pytest.raises(ImageError) as caught:
        wheels.choose(asking("nosuch"))
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


def test_wheels_that_no_image_needs_go_with_the_choice_that_named_them(index, wheels, tmp_path):
    index.add(wheel("kept"))
    index.add(wheel("gone"))
    kept, gone = (wheels.choose(asking(name))[0][0] for name in ("kept", "gone"))
    forget_wheels(tmp_path / "wheels", frozenset({kept.sha256}))
    assert kept.path.exists()
    assert not gone.path.exists()
    assert len(list((tmp_path / "wheels").glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("ERROR: Invalid requirement: 'x'", "cannot read the requirement 'x'"),
        ("ERROR: something new from https://u:p@h/x happened", "from <address> happened"),
        ("", "it says nothing"),
    ],
)
def test_other_words_of_pip_are_passed_on_without_addresses(words, message) -> None:
    assert message in complaint_of(words).message


def test_a_full_disk_is_told_as_that() -> None:
    words = "ERROR: Could not install packages: [Errno 28] No space left on device"
    assert complaint_of(words).is_full_disk


def test_integrity_of_the_helper_is_what_npm_writes() -> None:
    assert integrity(b"").startswith("sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg")
