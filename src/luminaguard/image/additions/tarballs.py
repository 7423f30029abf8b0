"""Fetching npm packages: each from the configured registry, kept only if its SHA-512 is the lock's.

Nothing is unpacked on this host, so no script of a package can run here.
"""

import hashlib
import os
import re
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

from luminaguard.errors import ImageError
from luminaguard.image.additions.npmlock import NpmPackage
from luminaguard.image.additions.npmrc import NpmConfig

MAX_FILE_BYTES = 512 << 20
"""No tarball may be larger; the largest that projects really use hold a browser, about 200 MB."""
_PIECE_BYTES = 1 << 20
_AT_ONCE = 8
_TIMEOUT_S = 60.0
_ATTEMPTS = 2
_IN_REGISTRY = re.compile(r"/-/[^/?#]+\.tgz$")
_UNREACHABLE = "check the network, and the registry: npm config get registry"


class Tarballs:
    """A cache of npm packages, by hash."""

    def __init__(
        self, directory: Path, config: NpmConfig, *, max_file_bytes: int = MAX_FILE_BYTES
    ) -> None:
        """Keep them in `directory`, which is made when it is needed."""
        self._directory = directory
        self._config = config
        self._max_file_bytes = max_file_bytes

    def path(self, package: NpmPackage) -> Path:
        """Return where the package's tarball lies once it is fetched."""
        return self._directory / f"{package.sha512[:64]}.tgz"

    def fetch(self, packages: Sequence[NpmPackage], advance: Callable[[float], None]) -> None:
        """Download what is not here or is damaged; `advance` is told the fraction that is done.

        Raises:
            ImageError: a package cannot be had, or is not what the lock says.
        """
        missing = {each.sha512: each for each in packages if not self._is_whole(each)}
        if not missing:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        context = self._context()
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            jobs = [workers.submit(self._fetch, each, context) for each in missing.values()]
            try:
                for count, job in enumerate(jobs, start=1):
                    job.result()
                    advance(count / len(jobs))
            finally:
                workers.shutdown(cancel_futures=True)

    def _is_whole(self, package: NpmPackage) -> bool:
        try:
            with self.path(package).open("rb") as stream:
                return hashlib.file_digest(stream, "sha512").hexdigest() == package.sha512
        except OSError:
            return False

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context()
            if self._config.certificates:
                context.load_verify_locations(self._config.certificates)
        except (OSError, ssl.SSLError) as error:
            raise ImageError(
                f"the certificates that npm is configured with cannot be read: {error}",
                hint="npm config get cafile",
            ) from error
        return context

    def _fetch(self, package: NpmPackage, context: ssl.SSLContext) -> None:
        address = address_of(package, self._config)
        part = self._directory / f"{package.sha512[:64]}.tgz.{secrets.token_hex(4)}"
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    digest = self._download(address, context, part)
                    break
                except (OSError, urllib.error.URLError) as error:
                    if isinstance(error, urllib.error.HTTPError) or attempt + 1 == _ATTEMPTS:
                        raise _unreachable(package, error) from None
            else:  # pragma: no cover - the loop breaks or raises
                raise AssertionError
            if digest != package.sha512:
                raise ImageError(
                    f"npm package {package.name} {package.version} did not arrive as the lock "
                    "describes it: its SHA-512 is another one",
                    hint="try again; if it stays, the registry serves another file than the lock",
                )
            os.replace(part, self.path(package))
        finally:
            part.unlink(missing_ok=True)

    def _download(self, address: str, context: ssl.SSLContext, part: Path) -> str:
        request = urllib.request.Request(address)  # noqa: S310 - address_of lets only http(s) pass
        authorization = self._config.authorization(address)
        if authorization:  # "unredirected": another host than the registry's never sees it
            request.add_unredirected_header("Authorization", authorization)
        digest = hashlib.sha512()
        size = 0
        opened = urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context)  # noqa: S310
        with opened as source, part.open("wb") as sink:
            while piece := source.read(_PIECE_BYTES):
                size += len(piece)
                if size > self._max_file_bytes:
                    raise ImageError(
                        f"an npm package is larger than {self._max_file_bytes >> 20} MiB",
                        hint="leave it out of the lock that the image is built from",
                    )
                digest.update(piece)
                sink.write(piece)
        return digest.hexdigest()


def forget_tarballs(directory: Path, kept: frozenset[str]) -> None:
    """Remove all tarballs from a directory but those with these SHA-256."""
    for path in directory.glob("*.tgz*"):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest not in kept:
            path.unlink(missing_ok=True)


def address_of(package: NpmPackage, config: NpmConfig) -> str:
    """Return where to fetch a package: on the configured registry, else where the lock says.

    Raises:
        ImageError: the lock names no registry's address, and none is configured.
    """
    registry = config.registry_of(package.name)
    if package.resolved and not _IN_REGISTRY.search(urlsplit(package.resolved).path):
        raise ImageError(
            f"npm package {package.name} does not come from a registry",
            hint="use a released version of it",
        )
    address = package.resolved
    if registry:
        base = package.name.rpartition("/")[2]
        address = f"{registry}{quote(package.name, safe='@/')}/-/{base}-{package.version}.tgz"
    if not address.startswith(("https://", "http://")):
        raise ImageError(
            f"nothing says where npm package {package.name} comes from",
            hint="npm config set registry ADDRESS, or a lock with resolved addresses",
        )
    return address


def _unreachable(package: NpmPackage, error: Exception) -> ImageError:
    # The address is not shown: it may hold a user's name or token.
    named = f"npm package {package.name} {package.version}"
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it holds the connection
        hint = "npm login, or the registry's token in .npmrc" if error.code in {401, 403} else None
        return ImageError(
            f"the registry answers {error.code} for {named}", hint=hint or _UNREACHABLE
        )
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return ImageError(f"{named} cannot be fetched: {reason}", hint=_UNREACHABLE)
