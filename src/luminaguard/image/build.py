"""Building a guest image: choose, fetch, unpack, compile, add, pack, publish.

No step needs root, and none runs a package's scripts. What does not come from the distribution's
signed packages is unpacked in a machine of its own.
"""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image import space
from luminaguard.image.additions.gather import Additions, Wanted, gather, install
from luminaguard.image.additions.npmrc import read_config
from luminaguard.image.additions.pip import PIP_PACKAGE, guest_pip
from luminaguard.image.additions.tarballs import Tarballs
from luminaguard.image.additions.wheels import Wheels
from luminaguard.image.apt import Apt, Package
from luminaguard.image.assemble import Assembly, Progress, assemble
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import Manifest, PackageKind, PackageRecord
from luminaguard.image.policies import policies_digest, program
from luminaguard.image.recipe import Recipe, host_distribution
from luminaguard.image.store import ImageStore
from luminaguard.image.tree import Tree
from luminaguard.image.turn import alone
from luminaguard.image.unused import forget_unused
from luminaguard.image.workbench import Workbench

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "sqfstar": "squashfs-tools",
    "secilc": "secilc",
    "apparmor_parser": "apparmor",
}
_LISTS_BYTES = 256_000_000
"""Room for package lists. Debian 12's take 55 MB; a host with more sources has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """All that goes into an image, fetched or to be fetched."""

    recipe: Recipe
    distribution: str
    architecture: str
    packages: tuple[Package, ...]
    tools: tuple[Package, ...] = ()
    """Packages that the build itself needs."""
    additions: Additions = field(default_factory=Additions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """Where one build works."""

    store: ImageStore
    apt: Apt
    place: Path
    progress: Progress


def build(
    store: ImageStore,
    recipe: Recipe,
    progress: Progress,
    *,
    wanted: Wanted | None = None,
    workbench: Workbench | None = None,
    rebuild: bool = False,
    patience_s: float = 300.0,
) -> GuestImage:
    """Build the image of a recipe from the host's packages, and make it the current one.

    Blocks for seconds to minutes; takes about 0.6 GB of the cache directory's disk meanwhile.
    Without a network it builds from the package lists and packages that are in the cache. If the
    current image is undamaged and was made from the same packages and recipe, it is returned
    instead, unless `rebuild` is set. One build runs at a time: others wait up to `patience_s`.

    Args:
        store: Where images and fetched packages lie.
        recipe: What every image has, and further packages of the distribution.
        progress: Is told what is under way.
        wanted: Wheels and npm packages to add.
        workbench: Makes the machine that installs them; needed only if something is wanted.
        rebuild: Build even if nothing changed.
        patience_s: Seconds to wait for another build to end.

    Raises:
        ImageError: this host cannot build, a tool is missing, the disk is full, packages cannot
            be had or installed, or another build does not end.
        VmError: no machine could be had to install what is wanted.
    """
    wanted = wanted or Wanted()
    distribution, architecture = host_distribution(), host_architecture()
    _require_tools()
    cache = store.cache_dir
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with space.explained(), alone(cache / "image-build.lock", patience_s, progress):
        store.sweep()
        space.require(cache, _LISTS_BYTES)
        apt = Apt(state=cache / "apt", packages=cache / "packages", architecture=architecture)
        kernel = recipe.kernel_package(distribution, architecture)
        chosen = _Chosen(
            recipe=recipe,
            distribution=distribution,
            architecture=architecture,
            packages=_choose(apt, recipe, kernel, progress),
        )
        with store.workshop(recipe.name) as place:
            site = _Site(store=store, apt=apt, place=place, progress=progress)
            chosen = _with_additions(chosen, wanted, site)
            present = None if rebuild else _present(store, recipe.name, _inputs(chosen))
            if present is not None:
                return present
            _fetch(site, chosen.packages)
            image = _build(site, chosen, installer(chosen.additions, workbench, progress))
        forget_unused(store)
        return image


def _build(site: _Site, chosen: _Chosen, add: Callable[[Tree, Path], None] | None) -> GuestImage:
    packages = [(each, site.apt.path(each)) for each in chosen.packages]
    made = assemble(packages, chosen.recipe, site.place, site.progress, add=add)
    site.progress("storing the image", None)
    manifest = _manifest(chosen, made)
    return site.store.publish(chosen.recipe.name, site.place / "out", manifest)


def _with_additions(chosen: _Chosen, wanted: Wanted, site: _Site) -> _Chosen:
    """Choose and fetch wheels and npm packages."""
    cache, apt = site.store.cache_dir, site.apt
    wheels = tarballs = None
    tools: tuple[Package, ...] = ()
    if wanted.requirements is not None:
        tools = tuple(each for each in apt.resolve([PIP_PACKAGE]) if each.name == PIP_PACKAGE)
        _fetch(site, (*chosen.packages, *tools))
        names = {each.name for each in apt.resolve(["python3"])}
        packages = [(p, apt.path(p)) for p in chosen.packages if p.name in names]
        place = site.place / "pip"
        python, pip = guest_pip(packages, apt.path(tools[0]), place, chosen.recipe.drop)
        wheels = Wheels(cache / "wheels", pip=pip, python=python)
    if wanted.npm is not None:
        tarballs = Tarballs(cache / "npm", read_config())
    additions = gather(wanted, wheels, tarballs, site.progress)
    return replace(chosen, tools=tools, additions=additions)


def installer(
    additions: Additions, workbench: Workbench | None, progress: Progress
) -> Callable[[Tree, Path], None] | None:
    """Return what installs additions into a root, for `assemble`; None if there are none.

    Raises:
        ImageError: there are some, and no machine to install them in.
    """
    if additions.is_empty:
        return None
    if workbench is None:
        raise ImageError("added packages need a machine to be installed in, and there is none")

    def add(root: Tree, out: Path) -> None:
        progress("installing the added packages in a machine", None)
        install(additions, root, out, workbench=workbench)

    return add


def host_architecture() -> str:
    """Return the distribution's name for this host's processor.

    Raises:
        ImageError: no guest is made for it.
    """
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


def _choose(apt: Apt, recipe: Recipe, kernel: str, progress: Progress) -> tuple[Package, ...]:
    progress("refreshing package lists", None)
    if not apt.update():
        progress("package lists could not all be refreshed; using those in the cache", None)
    progress("choosing packages", None)
    chosen = apt.resolve([*recipe.packages, recipe.shell, kernel])
    return tuple(package for package in chosen if recipe.takes(package.name))


def _inputs(chosen: _Chosen) -> str:
    """Return the digest of all that decides an image."""
    table = asdict(chosen.recipe)
    table["init"] = sha256(chosen.recipe.init).hexdigest()
    table["policies"] = policies_digest()
    table["distribution"] = chosen.distribution
    table["packages_chosen"] = [[each.name, each.version, each.sha256] for each in chosen.packages]
    table["additions"] = chosen.additions.inputs
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


def _fetch(site: _Site, packages: Sequence[Package]) -> None:
    missing = site.apt.missing(packages)
    unpacked = sum(package.installed_bytes for package in packages)
    needed = sum(package.size for package in missing) + 2 * unpacked
    space.require(site.store.cache_dir, needed)
    site.apt.fetch(missing, lambda done: site.progress("fetching packages", done))


def _manifest(chosen: _Chosen, made: Assembly) -> Manifest:
    records = [_record(each, PackageKind.DEB) for each in chosen.packages]
    records += [_record(each, PackageKind.TOOL) for each in chosen.tools]
    records += chosen.additions.records(chosen.architecture)
    return Manifest(
        name=chosen.recipe.name,
        recipe_version=chosen.recipe.version,
        inputs=_inputs(chosen),
        distribution=chosen.distribution,
        architecture=chosen.architecture,
        kernel=made.kernel,
        packages=tuple(sorted(records, key=lambda each: (each.kind, each.name, each.version))),
        artifacts=made.artifacts,
        asked=chosen.recipe.asked,
        contents=made.contents,
    )


def _record(package: Package, kind: PackageKind) -> PackageRecord:
    return PackageRecord(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        sha256=package.sha256,
        kind=kind,
    )
