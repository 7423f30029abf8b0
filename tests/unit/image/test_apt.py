"""Choosing and fetching packages, by the real apt-get from a repository in a directory."""

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from debs import member, write_deb
from luminaguard.errors import ImageError
from luminaguard.image.apt import Apt, forget_packages

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get")


class Repository:
    """A flat package repository whose index says what the test wants it to say."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._index: list[str] = []

    def add(self, name: str, *, depends: str = "", digest: str = "") -> None:
        deb = self.directory / f"{name}_1.0_all.deb"
        write_deb(deb, [member(f"./usr/bin/{name}", b"x")], name=name, depends=depends)
        content = deb.read_bytes()
        fields = {
            "Package": name,
            "Version": "1.0",
            "Architecture": "all",
            "Installed-Size": "4",
            "Filename": f"./{deb.name}",
            "Size": str(len(content)),
            "SHA256": digest or sha256(content).hexdigest(),
            **({"Depends": depends} if depends else {}),
        }
        self._index.append("".join(f"{key}: {value}\n" for key, value in fields.items()))
        (self.directory / "Packages").write_text("\n".join(self._index))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Make the host's apt configuration one that knows only this repository, and has a hook."""
    made = Repository(tmp_path / "repository")
    sources = tmp_path / "sources"
    sources.mkdir()
    (tmp_path / "none").mkdir()
    # `copy:` makes apt-get fetch the file as it would from a network.
    (sources / "test.list").write_text(f"deb [trusted=yes] copy:{made.directory} ./\n")
    configuration = tmp_path / "host.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{sources}";\n'
        f'Dir::Etc::parts "{tmp_path}/none";\n'
        f'APT::Update::Post-Invoke {{ "touch {tmp_path}/hook-ran"; }};\n'
        f'APT::Update::Pre-Invoke {{ "touch {tmp_path}/hook-ran"; }};\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    return made


@pytest.fixture
def apt(tmp_path):
    return Apt(state=tmp_path / "apt", packages=tmp_path / "packages", architecture="amd64")


def ignore(_: float) -> None:
    pass


def test_a_package_comes_after_all_it_depends_on(repository, apt) -> None:
    repository.add("top", depends="middle")
    repository.add("middle", depends="bottom")
    repository.add("bottom")
    repository.add("unrelated")
    assert apt.update()
    assert [each.name for each in apt.resolve(["top"])] == ["bottom", "middle", "top"]


def test_what_was_fetched_is_what_the_lists_promise(repository, apt) -> None:
    repository.add("sample")
    apt.update()
    packages = apt.resolve(["sample"])
    told: list[float] = []
    apt.fetch(apt.missing(packages), told.append)
    assert sha256(apt.path(packages[0]).read_bytes()).hexdigest() == packages[0].sha256
    assert told == [1.0]
    assert apt.missing(packages) == ()


def test_a_package_that_differs_from_the_lists_is_refused(repository, apt) -> None:
    repository.add("sample", digest="0" * 64)
    apt.update()
    packages = apt.resolve(["sample"])
    with pytest.raises(ImageError):
        apt.fetch(packages, ignore)
    assert apt.missing(packages) == packages


def test_a_fetched_file_that_was_changed_is_fetched_anew(repository, apt) -> None:
    repository.add("sample")
    apt.update()
    packages = apt.resolve(["sample"])
    apt.fetch(packages, ignore)
    with apt.path(packages[0]).open("r+b") as deb:
        deb.seek(100)
        deb.write(b"!")
    assert apt.missing(packages) == packages
    apt.fetch(packages, ignore)
    assert apt.missing(packages) == ()


def test_without_a_network_the_cache_is_enough(repository, apt) -> None:
    repository.add("sample")
    apt.update()
    before = apt.resolve(["sample"])
    apt.fetch(before, ignore)
    repository.directory.rename(repository.directory.with_name("gone"))
    assert not apt.update()
    assert apt.resolve(["sample"]) == before
    assert apt.missing(before) == ()


def test_an_unknown_package_is_named(repository, apt) -> None:
    repository.add("sample")
    apt.update()
    with pytest.raises(ImageError, match="nosuchpackage") as caught:
        apt.resolve(["nosuchpackage"])
    assert "apt-get update" in (caught.value.hint or "")


def test_no_hook_of_the_host_runs(repository, apt, tmp_path) -> None:
    repository.add("sample")
    apt.update()
    apt.fetch(apt.resolve(["sample"]), ignore)
    assert not (tmp_path / "hook-ran").exists()


def test_what_the_host_has_installed_does_not_count(repository, apt, tmp_path) -> None:
    installed = "Package: bash\nStatus: install ok installed\nArchitecture: all\nVersion: 5.0\n\n"
    (tmp_path / "status").write_text(installed)
    with (tmp_path / "host.conf").open("a") as host:
        host.write(f'Dir::State::status "{tmp_path}/status";\n')
    repository.add("sample", depends="bash")
    repository.add("bash")
    apt.update()
    assert [each.name for each in apt.resolve(["sample"])] == ["bash", "sample"]


def test_files_of_packages_that_nobody_needs_any_more_go(repository, apt) -> None:
    repository.add("kept")
    repository.add("gone")
    apt.update()
    kept, gone = apt.resolve(["kept", "gone"])
    apt.fetch([kept, gone], ignore)
    forget_packages(apt.path(kept).parent, [apt.path(kept).name])
    assert apt.path(kept).exists()
    assert not apt.path(gone).exists()
