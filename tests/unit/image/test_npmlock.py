"""npm's lock file is a stranger's word: every path, name and hash is checked."""

import hashlib
import json
from pathlib import Path

import pytest

from indexes import integrity
from luminaguard.errors import ImageError
from luminaguard.image.additions.npmlock import NpmPackage, parse_lock, read_lock

HASH = integrity(b"x")


def entry(**fields: object) -> dict[str, object]:
    return {"version": "1.0.0", "integrity": HASH, **fields}


def lock(**packages: object) -> dict[str, object]:
    return {"lockfileVersion": 3, "packages": packages}


def parsed(**packages: object):
    return parse_lock(lock(**packages), "lock", "amd64")


def test_packages_come_with_place_hash_and_commands() -> None:
    found = parsed(
        **{
            "": {"name": "project"},
            "node_modules/@a/b": entry(bin={"run": "./bin/run.js"}, resolved="https://h/x.tgz"),
            "node_modules/@a/b/node_modules/c": entry(name="real-c", optional=True),
        }
    )
    assert found.packages == (
        NpmPackage(
            path="node_modules/@a/b",
            name="@a/b",
            version="1.0.0",
            sha512=hashlib.sha512(b"x").hexdigest(),
            resolved="https://h/x.tgz",
            bins=(("run", "bin/run.js"),),
        ),
        NpmPackage(
            path="node_modules/@a/b/node_modules/c",
            name="real-c",
            version="1.0.0",
            sha512=hashlib.sha512(b"x").hexdigest(),
            is_optional=True,
        ),
    )


@pytest.mark.parametrize(
    ("fields", "is_taken"),
    [
        ({"os": ["linux"]}, True), ({"os": ["darwin"]}, False), ({"os": ["!linux"]}, False),
        ({"os": ["!win32"]}, True), ({"cpu": ["x64"]}, True), ({"cpu": ["arm64"]}, False),
        ({"libc": ["musl"]}, False), ({"libc": ["glibc"]}, True), ({"cpu": "x64"}, True),
        ({"inBundle": True}, False), ({"os": []}, True),
    ],
)  # fmt: skip
def test_only_what_is_made_for_the_guest_is_taken(fields, is_taken) -> None:
    assert bool(parsed(**{"node_modules/a": entry(**fields)}).packages) is is_taken


def test_what_an_image_cannot_hold_is_told() -> None:
    found = parsed(
        **{
            "packages/own": {"version": "1.0.0"},
            "node_modules/own": {"resolved": "packages/own", "link": True},
            "packages/own/node_modules/a": entry(),
            "node_modules/native": entry(hasInstallScript=True),
        }
    )
    assert found.own_packages == ("node_modules/own", "packages/own")
    assert found.unplaced == ("packages/own/node_modules/a",)
    assert found.with_scripts == ("native",)


@pytest.mark.parametrize(
    "path",
    [
        "node_modules/..", "node_modules/../x", "node_modules/a/../b", "node_modules/.bin",
        "node_modules//a", "node_modules/a/", "node_modules/a b", "node_modules/a\n",
        "node_modules/@a/../../b", "node_modules/a/node_modules/..", "node_modules/.",
    ],
)  # fmt: skip
def test_a_place_outside_of_node_modules_is_refused(path) -> None:
    with pytest.raises(ImageError, match="cannot be a package's place"):
        parsed(**{path: entry()})


@pytest.mark.parametrize(
    "value", [None, "", "sha1-AAAA", "sha512-AAAA", "sha512-!!", 7, f"sha256-{'A' * 43}="]
)
def test_a_package_without_a_sha512_is_refused(value) -> None:
    with pytest.raises(ImageError, match="no SHA-512") as caught:
        parsed(**{"node_modules/a": entry(integrity=value)})
    assert "npm install --package-lock-only" in (caught.value.hint or "")


@pytest.mark.parametrize("resolved", ["git+ssh://h/x", "file:../x", "github:a/b#c", 7])
def test_a_package_from_elsewhere_than_a_registry_is_refused(resolved) -> None:
    if resolved == "github:a/b#c":
        resolved = "git@h:a/b"
    with pytest.raises(ImageError, match="does not come from a registry"):
        parsed(**{"node_modules/a": entry(resolved=resolved)})


@pytest.mark.parametrize("version", [None, 1, "", "1.0.0/../..", "x" * 101])
def test_a_version_that_cannot_be_one_is_refused(version) -> None:
    with pytest.raises(ImageError, match="no version"):
        parsed(**{"node_modules/a": entry(version=version)})


@pytest.mark.parametrize(
    "bins", [{"../x": "a"}, {"x": "../a"}, {"x": "/a"}, {"a/b": "a"}, {"x": 1}, ["x"], {"..": "a"}]
)
def test_a_command_that_would_lie_elsewhere_is_left_out(bins) -> None:
    assert parsed(**{"node_modules/a": entry(bin=bins)}).packages[0].bins == ()


@pytest.mark.parametrize(
    "table", [[], {}, {"lockfileVersion": 1, "dependencies": {}}, {"lockfileVersion": 3}, None, 3]
)
def test_an_old_or_other_file_is_refused_with_the_command_that_renews_it(table) -> None:
    with pytest.raises(ImageError, match="no package-lock") as caught:
        parse_lock(table, "lock", "amd64")
    assert "--lockfile-version 3" in (caught.value.hint or "")


def test_a_file_that_is_no_lock_is_refused(tmp_path: Path) -> None:
    for content, message in ((b"{", "not JSON"), (b"[" * 100_000, "not JSON")):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(ImageError, match=message):
            read_lock(tmp_path / "lock", "amd64")
    with pytest.raises(ImageError, match="cannot be read"):
        read_lock(tmp_path / "missing", "amd64")
    with pytest.raises(ImageError, match="no regular file"):
        read_lock(tmp_path, "amd64")


def test_a_lock_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(json.dumps(lock(**{"node_modules/a": entry()})))
    assert [each.name for each in read_lock(tmp_path / "lock", "arm64").packages] == ["a"]
