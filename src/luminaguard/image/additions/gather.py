"""Everything that an image gets beyond the distribution's packages: chosen, fetched, installed."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luminaguard.domain.execution import GuestReport
from luminaguard.errors import ImageError
from luminaguard.image.additions.disk import COMMAND, Unpacking, installer, write_disk
from luminaguard.image.additions.intake import Intake
from luminaguard.image.additions.npmlock import NpmLock, NpmPackage
from luminaguard.image.additions.requirements import Requirements
from luminaguard.image.additions.tarballs import Tarballs
from luminaguard.image.additions.wheels import Wheel, Wheels
from luminaguard.image.guestpython import python_version
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import PackageKind, PackageRecord
from luminaguard.image.places import MODULES_HOME, TOOL_HOME
from luminaguard.image.tree import Tree
from luminaguard.image.workbench import Workbench

Progress = Callable[[str, float | None], None]

NODE_PACKAGES = ("nodejs",)
"""Debian packages that npm packages need. Debian's own npm is left out: it brings 390 others."""

NPM = NpmPackage(
    path="node_modules/npm",
    name="npm",
    version="9.9.4",
    sha512="37371088ba6a0ee2e16af772276277b4627f9e2fde6dca87545664bf50b8ffa9"
    "5b96b6943db3e0089e1585be286b71458516b6623f60039f23187ff3b4ab9e35",
    bins=(("npm", "bin/npm-cli.js"), ("npx", "bin/npx-cli.js")),
)
"""npm itself, whole in one tarball; it runs on the Node of every supported distribution (18 and
later). Source: the package's own "engines"."""

_MAX_REASON = 300
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a user asked for with `--requirements` and `--npm`."""

    requirements: Requirements | None = None
    npm: NpmLock | None = None
    npm_itself: NpmPackage = NPM

    @property
    def debian_packages(self) -> tuple[str, ...]:
        """Packages of the distribution that this needs."""
        return NODE_PACKAGES if self.npm is not None else ()


def left_out(wanted: Wanted) -> list[str]:
    """Say what of the wanted packages an image does not have or do, in sentences."""
    if wanted.npm is None:
        return []
    notes = {
        "install scripts were not run": wanted.npm.with_scripts,
        "the project's own parts stay in the workspace": wanted.npm.own_packages,
        "not there, as they belong below such a part": wanted.npm.unplaced,
    }
    return [f"{what}: {_some(names)}" for what, names in notes.items() if names]


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What was fetched, ready to be installed."""

    wheels: tuple[Wheel, ...] = ()
    npm: tuple[Unpacking, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to install."""
        return not self.wheels and not self.npm

    @property
    def inputs(self) -> list[list[str]]:
        """All that decides what they add to an image, the installer's own sources included."""
        if self.is_empty:
            return []
        sources = [[name, hashlib.sha256(source).hexdigest()] for name, source in installer()]
        wheels = [[each.name, each.version, each.sha256] for each in self.wheels]
        npm = [[each.home, each.package.path, each.package.sha512] for each in self.npm]
        return [*sources, *wheels, *npm]

    def records(self, architecture: str) -> tuple[PackageRecord, ...]:
        """Return what the manifest says of them: each package once."""
        wheels = {
            PackageRecord(
                name=each.name,
                version=each.version,
                architecture="any" if each.path.name.endswith("-any.whl") else architecture,
                sha256=each.sha256,
                kind=PackageKind.WHEEL,
            )
            for each in self.wheels
        }
        npm = {
            PackageRecord(
                name=each.package.name,
                version=each.package.version,
                architecture="any",
                sha256=_digest(each.tarball),
                kind=PackageKind.NPM,
            )
            for each in self.npm
        }
        return (*wheels, *npm)


def gather(
    wanted: Wanted, wheels: Wheels | None, tarballs: Tarballs | None, progress: Progress
) -> Additions:
    """Choose and fetch what is wanted, each kind from the cache that is given for it.

    Raises:
        ImageError: something cannot be had, or is not what its hash says.
    """
    chosen: tuple[Wheel, ...] = ()
    if wanted.requirements is not None and wheels is not None:
        progress("choosing and fetching wheels", None)
        chosen, is_fresh = wheels.choose(wanted.requirements)
        if not is_fresh:
            progress("the package index could not be reached; using the wheels in the cache", None)
    if wanted.npm is None or tarballs is None:
        return Additions(wheels=chosen)
    packages = wanted.npm.packages
    tarballs.fetch(
        (wanted.npm_itself, *packages), lambda done: progress("fetching npm packages", done)
    )
    unpacked = [
        Unpacking(package=each, tarball=tarballs.path(each), home=MODULES_HOME) for each in packages
    ]
    tool = wanted.npm_itself
    npm = Unpacking(package=tool, tarball=tarballs.path(tool), home=TOOL_HOME)
    return Additions(wheels=chosen, npm=(npm, *unpacked))


def install(additions: Additions, tree: Tree, out: Path, *, workbench: Workbench) -> None:
    """Install additions into a root directory, in a machine that boots from the files in `out`.

    Raises:
        ImageError: a package is damaged, or what the machine made has no place in an image.
        VmError: no machine could be had.
    """
    disk = out.parent / "additions.squashfs"
    wheels = [each.path for each in additions.wheels]
    write_disk(disk, wheels=wheels, npm=additions.npm, python=python_version(tree))
    intake = Intake(tree)
    # Nobody refers to this image: it ends with the build. Its digest only has to look like one.
    base = GuestImage(directory=out, digest=_digest(out / "rootfs"))
    try:
        report = workbench.run(base, disk, COMMAND, intake.add)
    finally:
        intake.finish()
        disk.unlink(missing_ok=True)
    if report.exit_code != 0:
        raise ImageError(
            f"the added packages cannot be installed: {_reason(report)}",
            hint="leave that package out, or ask for another version of it",
        )
    if tree.is_directory(f"{MODULES_HOME}/node_modules"):
        # Node looks for packages in each directory above a file, the root included; unlike
        # NODE_PATH this serves `import` as well. Source: Node's documentation, "ESM_RESOLVE".
        tree.symlink("node_modules", f"{MODULES_HOME}/node_modules")


def _reason(report: GuestReport) -> str:
    said = report.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return ascii(said[:_MAX_REASON]) if said else f"the installer ended with {report.exit_code}"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
