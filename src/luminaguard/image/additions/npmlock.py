"""npm's lock file: which package lies where, and the hash that its tarball must have.

The file is a project's own word, so every name and path is checked before it is used.
Source: npm's documentation, "package-lock.json", lockfileVersion 2 and 3.
"""

import base64
import binascii
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from luminaguard.errors import ImageError

_MAX_BYTES = 64 << 20
_NAME = r"(?:@[a-z0-9~_-][a-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*"
_PATH = re.compile(rf"node_modules/{_NAME}(?:/node_modules/{_NAME})*")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,100}")
_BIN_NAME = re.compile(r"[A-Za-z0-9@._+-]{1,100}")
_BIN_TARGET = re.compile(r"(?:\./)?[A-Za-z0-9@._+-]+(?:/[A-Za-z0-9@._+-]+)*")
_SHA512_BYTES = 64
_CPUS = {"amd64": "x64", "arm64": "arm64"}
_RENEW = "renew the lock with a current npm: npm install --package-lock-only --lockfile-version 3"


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmPackage:
    """One tarball and where it is unpacked."""

    path: str
    """"node_modules/mocha", or below another package's own node_modules."""
    name: str
    version: str
    sha512: str
    """Hexadecimal; what the tarball must have."""
    resolved: str = ""
    """The address that the lock names; empty if it names none."""
    bins: tuple[tuple[str, str], ...] = ()
    """(command, file in the package)."""
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmLock:
    """What a lock asks for on a Linux guest, and what of it an image cannot hold."""

    packages: tuple[NpmPackage, ...]
    own_packages: tuple[str, ...] = ()
    """Parts of the project itself: they are in the workspace, not in the image."""
    unplaced: tuple[str, ...] = ()
    """Packages that belong below such a part; the image has one place for all."""
    with_scripts: tuple[str, ...] = ()
    """Packages whose install scripts are not run."""


def read_lock(file: Path, architecture: str) -> NpmLock:
    """Read a lock for a guest of this architecture.

    Raises:
        ImageError: it is no lock of version 2 or 3, or an entry cannot be taken.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise ImageError(f"{file} is no lock: it is no regular file, or above {_MAX_BYTES} B")
        table: object = json.loads(file.read_bytes())
    except OSError as error:
        raise ImageError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise ImageError(f"{file} is not JSON, so no package-lock.json", hint=_RENEW) from None
    return parse_lock(table, str(file), architecture)


def parse_lock(table: object, where: str, architecture: str) -> NpmLock:
    """Take a lock apart; `where` names it in errors. See `read_lock`."""
    root = _table(table)
    if root.get("lockfileVersion") not in {2, 3} or not isinstance(root.get("packages"), dict):
        raise ImageError(f"{where} is no package-lock.json of version 2 or 3", hint=_RENEW)
    packages: list[NpmPackage] = []
    own: list[str] = []
    unplaced: list[str] = []
    scripts: list[str] = []
    for path, value in sorted(_table(root["packages"]).items()):
        entry = _table(value)
        if not path:
            continue
        if entry.get("link") is True or "node_modules/" not in path:
            own.append(path)
        elif not path.startswith("node_modules/"):
            unplaced.append(path)
        elif entry.get("inBundle") is not True and _fits(entry, architecture):
            packages.append(_package(path, entry, where))
            if entry.get("hasInstallScript") is True:
                scripts.append(packages[-1].name)
    return NpmLock(
        packages=tuple(packages),
        own_packages=tuple(own),
        unplaced=tuple(unplaced),
        with_scripts=tuple(scripts),
    )


def _package(path: str, entry: Mapping[str, object], where: str) -> NpmPackage:
    named = entry.get("name", path.rpartition("node_modules/")[2])
    version = entry.get("version")
    resolved = entry.get("resolved", "")
    is_known = isinstance(named, str) and re.fullmatch(_NAME, named)
    if not _PATH.fullmatch(path) or not is_known:
        raise ImageError(f"{where}: {path!a} cannot be a package's place", hint=_RENEW)
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ImageError(f"{where}: {path} has no version that can be read", hint=_RENEW)
    if not isinstance(resolved, str) or resolved.startswith(("git", "file:", "../")):
        raise ImageError(
            f"{where}: {path} does not come from a registry, so nothing says what it must be",
            hint="use a released version of it; the project's own parts are in the workspace",
        )
    return NpmPackage(
        path=path,
        name=cast("str", named),
        version=version,
        sha512=_sha512(entry.get("integrity"), f"{where}: {path}"),
        resolved=resolved,
        bins=_bins(entry.get("bin")),
        is_optional=entry.get("optional") is True,
    )


def _sha512(integrity: object, where: str) -> str:
    """Return the SHA-512 among a package's hashes. Source: W3C, Subresource Integrity, 3.5."""
    for each in integrity.split() if isinstance(integrity, str) else ():
        kind, _, encoded = each.partition("-")
        if kind == "sha512":
            try:
                digest = base64.b64decode(encoded.partition("?")[0], validate=True)
            except binascii.Error:
                continue
            if len(digest) == _SHA512_BYTES:
                return digest.hex()
    raise ImageError(f"{where} has no SHA-512 in the lock", hint=_RENEW)


def _bins(value: object) -> tuple[tuple[str, str], ...]:
    pairs = cast("dict[str, object]", value).items() if isinstance(value, dict) else ()
    return tuple(
        (name, target.removeprefix("./"))
        for name, target in sorted(pairs)
        if isinstance(target, str)
        and _BIN_NAME.fullmatch(name)
        and _BIN_TARGET.fullmatch(target)
        and not {".", ".."} & {name, *target.removeprefix("./").split("/")}
    )


def _fits(entry: Mapping[str, object], architecture: str) -> bool:
    """Whether a package is made for Linux with the GNU C library on this architecture."""
    here = {"os": "linux", "cpu": _CPUS.get(architecture, architecture), "libc": "glibc"}
    return all(_admits(entry.get(key), value) for key, value in here.items())


def _admits(listed: object, value: str) -> bool:
    if isinstance(listed, str):
        listed = [listed]
    if not isinstance(listed, list) or not listed:
        return True
    names = [str(each) for each in cast("list[object]", listed)]
    if f"!{value}" in names:
        return False
    return value in names or "any" in names or all(name.startswith("!") for name in names)


def _table(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
