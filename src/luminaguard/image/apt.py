"""Choosing and fetching packages with the host's own apt-get, in a state of its own.

Sources, keys, proxies and preferences are the host's: no address is known here. What the host
has installed does not count, its package database is not touched, and none of its hooks run.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image import space

# `#clear` drops what the host's files set: hooks that run as part of an update or a download.
# Only the lists that choosing needs are fetched, and only for this machine's architecture.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg;
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
Dir::State "{state}";
Dir::State::lists "{state}/lists";
Dir::State::status "{state}/status";
Dir::Cache "{state}";
Dir::Cache::archives "{state}/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
"""

_CHOSEN = re.compile(r"^Inst (\S+) \((\S+) ", re.MULTILINE)
_FIELD = re.compile(
    r"^(Package|Version|Architecture|SHA256|Size|Installed-Size): (\S+)$", re.MULTILINE
)
_NETWORK = "check the network and the package sources with: apt-get update"
_TIMEOUT_S = 1800.0
_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package as the signed package lists describe it."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    installed_bytes: int


def file_name(name: str, version: str, architecture: str) -> str:
    """Return the name that apt gives a downloaded package."""
    return f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"


class Apt:
    """A private apt: `state` holds package lists, `packages` the downloaded files."""

    def __init__(self, *, state: Path, packages: Path, architecture: str) -> None:
        """Write apt's configuration; both directories are made where they are missing."""
        self._packages = packages
        self._configuration = state / "apt.conf"
        for directory in (state / "lists/partial", state / "archives/partial", packages):
            directory.mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        self._configuration.write_text(
            _CONFIGURATION.format(state=state, architecture=architecture), encoding="utf-8"
        )

    def update(self) -> bool:
        """Refresh the package lists; return whether all of them are fresh now.

        Lists that cannot be refreshed stay as they are, so a build works without a network.
        """
        result = self._run("apt-get", "update")
        return result.returncode == 0 and "Some index files failed" not in result.stderr

    def resolve(self, names: Sequence[str]) -> tuple[Package, ...]:
        """Choose versions of the named packages and of all they depend on, in install order.

        Raises:
            ImageError: a package is unknown, or the set cannot be installed together.
        """
        simulated = self._run("apt-get", "install", "--simulate", *names)
        if simulated.returncode != 0:
            raise _failure("the packages cannot be chosen", simulated)
        chosen = _CHOSEN.findall(simulated.stdout)
        wanted = [f"{name}={version}" for name, version in chosen]
        shown = self._run("apt-cache", "show", *wanted)
        if shown.returncode != 0:
            raise _failure("the packages cannot be described", shown)
        known = {(each.name, each.version): each for each in _described(shown.stdout)}
        keys = [(name.partition(":")[0], version) for name, version in chosen]
        unknown = [name for name, version in keys if (name, version) not in known]
        if unknown:
            raise ImageError(f"the package lists give no SHA-256 for {unknown[0]}")
        return tuple(known[key] for key in keys)

    def missing(self, packages: Iterable[Package]) -> tuple[Package, ...]:
        """Return the packages that are not here; files that differ from the lists are removed."""
        absent: list[Package] = []
        for package in packages:
            path = self.path(package)
            if path.exists() and _digest(path) == package.sha256:
                continue
            path.unlink(missing_ok=True)
            absent.append(package)
        return tuple(absent)

    def fetch(self, packages: Sequence[Package], advance: Callable[[float], None]) -> None:
        """Download packages that are missing; `advance` is told the fraction that is done.

        Raises:
            ImageError: a package cannot be fetched, or is not what the signed lists promise.
        """
        for start in range(0, len(packages), _AT_ONCE):
            batch = packages[start : start + _AT_ONCE]
            wanted = [f"{package.name}={package.version}" for package in batch]
            result = self._run("apt-get", "download", *wanted)
            if result.returncode != 0:
                raise _failure("packages cannot be fetched", result)
            advance((start + len(batch)) / len(packages))
        absent = self.missing(packages)
        if absent:
            raise ImageError(
                f"{absent[0].name} {absent[0].version} did not arrive as the package lists "
                "describe it",
                hint="try again; if it stays, the package mirror serves a damaged file",
            )

    def path(self, package: Package) -> Path:
        """Return where the package's file lies once it is fetched."""
        return self._packages / file_name(package.name, package.version, package.architecture)

    def _run(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [tool, "-c", str(self._configuration), "-q", *arguments],
                cwd=self._packages,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ImageError(
                f"{tool} {arguments[0]} did not end within {_TIMEOUT_S:.0f} s", hint=_NETWORK
            ) from None


def forget_packages(directory: Path, kept: Iterable[str]) -> None:
    """Remove all downloaded files from a directory but those with these names."""
    names = frozenset(kept)
    for path in directory.glob("*.deb"):
        if path.name not in names:
            path.unlink(missing_ok=True)


def _failure(what: str, result: subprocess.CompletedProcess[str]) -> ImageError:
    lines = [line for line in result.stderr.splitlines() if line.startswith("E:")]
    reason = lines[0].removeprefix("E:").strip() if lines else result.stderr.strip()
    if space.names_full_disk(result.stderr):
        return space.full()
    return ImageError(f"{what}: {reason}", hint=_NETWORK)


def _described(stanzas: str) -> Iterator[Package]:
    for stanza in stanzas.split("\n\n"):
        fields = dict(_FIELD.findall(stanza))
        if "SHA256" in fields:
            yield Package(
                name=fields["Package"],
                version=fields["Version"],
                architecture=fields["Architecture"],
                sha256=fields["SHA256"],
                size=int(fields["Size"]),
                installed_bytes=int(fields.get("Installed-Size", "0")) * 1024,
            )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
