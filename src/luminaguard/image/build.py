"""Building a guest image: choose, fetch, unpack, compile, pack, publish.

No step needs root, and none runs a package's scripts.
"""

import json
import platform
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import IO

from luminaguard.errors import ImageError
from luminaguard.image import space
from luminaguard.image.apt import Apt, Package, file_name
from luminaguard.image.assemble import Assembly, Progress, assemble
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import Manifest, PackageRecord
from luminaguard.image.policies import policies_digest, program
from luminaguard.image.recipe import Recipe, host_distribution
from luminaguard.image.store import ImageStore

if sys.platform != "win32":
    import fcntl

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "sqfstar": "squashfs-tools",
    "secilc": "secilc",
    "apparmor_parser": "apparmor",
}
_POLL_S = 0.2
_LISTS_BYTES = 256_000_000
"""Room for package lists. Debian 12's take 55 MB; a host with more sources has more."""


def build(
    store: ImageStore,
    recipe: Recipe,
    progress: Progress,
    *,
    rebuild: bool = False,
    patience_s: float = 300.0,
) -> GuestImage:
    """Build the image of a recipe from the host's packages, and make it the current one.

    Blocks for seconds to minutes; takes about 0.6 GB of the cache directory's disk meanwhile.
    Without a network it builds from the package lists and packages that are in the cache. If the
    current image is undamaged and was made from the same packages and recipe, it is returned
    instead, unless `rebuild` is set. One build runs at a time: others wait up to `patience_s`.

    Raises:
        ImageError: this host cannot build, a tool is missing, the disk is full, packages cannot
            be had, or another build does not end.
    """
    distribution, architecture = host_distribution(), _architecture()
    _require_tools()
    cache = store.cache_dir
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with space.explained(), _alone(cache / "image-build.lock", patience_s, progress):
        store.sweep()
        space.require(cache, _LISTS_BYTES)
        apt = Apt(state=cache / "apt", packages=cache / "packages", architecture=architecture)
        kernel = recipe.kernel_package(distribution, architecture)
        packages = _choose(apt, recipe, kernel, progress)
        inputs = _inputs(recipe, distribution, packages)
        present = None if rebuild else _present(store, recipe.name, inputs)
        if present is not None:
            return present
        _fetch(apt, packages, cache, progress)
        with store.workshop(recipe.name) as place:
            made = assemble([(each, apt.path(each)) for each in packages], recipe, place, progress)
            progress("storing the image", None)
            manifest = _manifest(recipe, distribution, architecture, packages, inputs, made)
            image = store.publish(recipe.name, place / "out", manifest)
        _forget_unused(store, apt)
        return image


def _architecture() -> str:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise ImageError(f"guest images cannot be built on a {machine} host")
    return _ARCHITECTURES[machine]


def _require_tools() -> None:
    for tool, package in _TOOLS.items():
        if program(tool) is None:
            raise ImageError(
                f"{tool} is not installed; it is needed to build guest images",
                hint=f"apt-get install {package}",
            )


@contextmanager
def _alone(path: Path, patience_s: float, progress: Progress) -> Generator[None]:
    """Hold the lock that keeps builds apart; the kernel drops it with the process."""
    if sys.platform == "win32":
        raise ImageError("Windows cannot build guest images")
    deadline = time.monotonic() + patience_s
    with path.open("w") as lock:
        while not _locked(lock):
            if time.monotonic() >= deadline:
                raise ImageError(
                    "another image build is running in this cache directory",
                    hint="wait for it to end, then try again",
                )
            progress("waiting for another build to end", None)
            time.sleep(_POLL_S)
        yield


def _locked(lock: IO[str]) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _choose(apt: Apt, recipe: Recipe, kernel: str, progress: Progress) -> tuple[Package, ...]:
    progress("refreshing package lists", None)
    if not apt.update():
        progress("package lists could not all be refreshed; using those in the cache", None)
    progress("choosing packages", None)
    chosen = apt.resolve([*recipe.packages, recipe.shell, kernel])
    return tuple(package for package in chosen if recipe.takes(package.name))


def _inputs(recipe: Recipe, distribution: str, packages: Sequence[Package]) -> str:
    """Return the digest of all that decides an image."""
    table = asdict(recipe)
    table["init"] = sha256(recipe.init).hexdigest()
    table["policies"] = policies_digest()
    table["distribution"] = distribution
    table["packages_chosen"] = [[each.name, each.version, each.sha256] for each in packages]
    return sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _present(store: ImageStore, name: str, inputs: str) -> GuestImage | None:
    try:
        image = store.current(name)
        if store.manifest(image).inputs != inputs:
            return None
        store.verify(image)
    except ImageError:
        return None  # there is none, or it is damaged: building mends both
    return image


def _fetch(apt: Apt, packages: Sequence[Package], cache: Path, progress: Progress) -> None:
    missing = apt.missing(packages)
    unpacked = sum(package.installed_bytes for package in packages)
    space.require(cache, sum(package.size for package in missing) + 2 * unpacked)
    apt.fetch(missing, lambda done: progress("fetching packages", done))


def _manifest(
    recipe: Recipe,
    distribution: str,
    architecture: str,
    packages: Sequence[Package],
    inputs: str,
    made: Assembly,
) -> Manifest:
    records = [
        PackageRecord(
            name=each.name,
            version=each.version,
            architecture=each.architecture,
            sha256=each.sha256,
        )
        for each in packages
    ]
    return Manifest(
        name=recipe.name,
        recipe_version=recipe.version,
        inputs=inputs,
        distribution=distribution,
        architecture=architecture,
        kernel=made.kernel,
        packages=tuple(sorted(records, key=lambda record: record.name)),
        artifacts=made.artifacts,
    )


def _forget_unused(store: ImageStore, apt: Apt) -> None:
    """Remove fetched packages that no stored image was made from."""
    apt.keep_only(
        file_name(each.name, each.version, each.architecture)
        for image in store.list()
        for each in store.manifest(image).packages
    )
