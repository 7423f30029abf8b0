"""npm packages come from the configured registry only, and only if their hash is the lock's."""

import hashlib
from pathlib import Path

import pytest

from indexes import npm_package, served
from luminaguard.errors import ImageError
from luminaguard.image.additions.npmlock import NpmPackage
from luminaguard.image.additions.npmrc import NpmConfig, read_config
from luminaguard.image.additions.tarballs import Tarballs, address_of, forget_tarballs


@pytest.fixture
def registry():
    with served() as index:
        yield index


def package(name: str, content: bytes, *, resolved: str = "") -> NpmPackage:
    sha512 = hashlib.sha512(content).hexdigest()
    path = f"node_modules/{name}"
    return NpmPackage(path=path, name=name, version="1.0.0", sha512=sha512, resolved=resolved)


def config(registry, **more: str) -> NpmConfig:
    return NpmConfig(values={"registry": registry.address, **more})


def quiet(_done: float) -> None:
    pass


def test_packages_are_fetched_from_the_configured_registry_whatever_the_lock_says(
    registry, tmp_path
) -> None:
    plain, scoped = npm_package("a", {}), npm_package("@s/b", {})
    registry.files = {"/a/-/a-1.0.0.tgz": plain, "/@s/b/-/b-1.0.0.tgz": scoped}
    wanted = [
        package("a", plain, resolved="https://elsewhere.invalid/a/-/a-1.0.0.tgz"),
        package("@s/b", scoped),
    ]
    tarballs = Tarballs(tmp_path / "npm", config(registry))
    done: list[float] = []
    tarballs.fetch(wanted, done.append)
    assert [tarballs.path(each).read_bytes() for each in wanted] == [plain, scoped]
    assert done[-1] == 1.0
    tarballs.fetch(wanted, quiet)
    assert len(registry.asked) == 2  # the second time without the network


def test_a_package_with_another_hash_than_the_lock_says_is_refused_and_not_kept(
    registry, tmp_path
) -> None:
    registry.files = {"/a/-/a-1.0.0.tgz": b"evil"}
    tarballs = Tarballs(tmp_path / "npm", config(registry))
    with pytest.raises(ImageError, match="its SHA-512 is another one"):
        tarballs.fetch([package("a", b"good")], quiet)
    assert list((tmp_path / "npm").iterdir()) == []


def test_a_damaged_file_in_the_cache_is_fetched_anew(registry, tmp_path) -> None:
    registry.files = {"/a/-/a-1.0.0.tgz": b"good"}
    tarballs, wanted = Tarballs(tmp_path / "npm", config(registry)), package("a", b"good")
    tarballs.fetch([wanted], quiet)
    tarballs.path(wanted).write_bytes(b"bad")
    tarballs.fetch([wanted], quiet)
    assert tarballs.path(wanted).read_bytes() == b"good"


def test_an_absurd_size_ends_the_download(registry, tmp_path) -> None:
    body = b"x" * 3_000_000
    registry.files = {"/a/-/a-1.0.0.tgz": body}
    tarballs = Tarballs(tmp_path / "npm", config(registry), max_file_bytes=1 << 20)
    with pytest.raises(ImageError, match="larger than 1 MiB"):
        tarballs.fetch([package("a", body)], quiet)
    assert list((tmp_path / "npm").iterdir()) == []


def test_a_registry_that_does_not_answer_is_told_without_its_address(tmp_path) -> None:
    with served() as gone:
        address = gone.address.replace("http://", "http://user:secret@")
    tarballs = Tarballs(tmp_path / "npm", NpmConfig(values={"registry": address}))
    with pytest.raises(ImageError, match=r"a 1\.0\.0 cannot be fetched") as caught:
        tarballs.fetch([package("a", b"x")], quiet)
    assert "secret" not in str(caught.value)
    assert "npm config get registry" in (caught.value.hint or "")


def test_a_package_that_the_registry_lacks_is_named(registry, tmp_path) -> None:
    with pytest.raises(ImageError, match=r"answers 404 for npm package a 1\.0\.0"):
        Tarballs(tmp_path / "npm", config(registry)).fetch([package("a", b"x")], quiet)


def test_a_token_goes_to_its_registry_and_to_no_other(registry, tmp_path) -> None:
    registry.files = {"/a/-/a-1.0.0.tgz": b"x"}
    host = registry.address.removeprefix("http:")
    for key in (f"{host}/:_authToken", "//other.invalid/:_authToken"):
        registry.authorizations.clear()
        tarballs = Tarballs(
            tmp_path / key[-20:-12].replace("/", ""), config(registry, **{key: "t"})
        )
        tarballs.fetch([package("a", b"x")], quiet)
        assert registry.authorizations == (["Bearer t"] if host in key else [""])


@pytest.mark.parametrize(
    "resolved", ["https://h/archive/x.tar.gz", "https://h/latest", "file:///etc/passwd"]
)
def test_an_address_that_is_no_registrys_is_never_asked(resolved) -> None:
    with pytest.raises(ImageError, match="does not come from a registry"):
        address_of(package("a", b"x", resolved=resolved), NpmConfig())


def test_without_any_registry_the_lock_must_say_where() -> None:
    with pytest.raises(ImageError, match="nothing says where"):
        address_of(package("a", b"x"), NpmConfig())
    named = package("a", b"x", resolved="https://h/a/-/a-1.0.0.tgz")
    assert address_of(named, NpmConfig()) == "https://h/a/-/a-1.0.0.tgz"


def test_a_scope_has_its_own_registry() -> None:
    settings = NpmConfig(values={"registry": "https://all", "@s:registry": "https://own/"})
    assert address_of(package("@s/b", b""), settings) == "https://own/@s/b/-/b-1.0.0.tgz"
    assert address_of(package("@t/b", b""), settings) == "https://all/@t/b/-/b-1.0.0.tgz"


def test_settings_are_read_as_npm_reads_them(tmp_path: Path) -> None:
    (tmp_path / "user").write_text(
        "; comment\nregistry = https://user/\n//h/p/:_authToken=${TOKEN}\ncafile='/c'\n"
    )
    (tmp_path / "global").write_text("registry=https://global/\n@s:registry=https://s/\n")
    environ = {
        "TOKEN": "t",
        "NPM_CONFIG_USERCONFIG": str(tmp_path / "user"),
        "npm_config_globalconfig": str(tmp_path / "global"),
    }
    found = read_config(environ)
    assert found.registry_of("a") == "https://user/"
    assert found.registry_of("@s/a") == "https://s/"
    assert found.certificates == "/c"
    assert found.authorization("https://h/p/a/-/a-1.0.0.tgz") == "Bearer t"
    assert found.authorization("https://h/other/a.tgz") == ""
    assert "Bearer" not in repr(found)
    override = read_config({**environ, "npm_config_registry": "https://env"})
    assert override.registry_of("a") == "https://env/"


def test_tarballs_that_no_image_needs_go(tmp_path) -> None:
    for content in (b"kept", b"gone"):
        (tmp_path / f"{content.decode()}.tgz").write_bytes(content)
    forget_tarballs(tmp_path, frozenset({hashlib.sha256(b"kept").hexdigest()}))
    assert [path.name for path in tmp_path.iterdir()] == ["kept.tgz"]
