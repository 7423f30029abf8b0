"""From fetched packages to the files that a machine boots from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image.apt import Package
from luminaguard.image.bytecode import compile_python
from luminaguard.image.contents import Contents, contents_of
from luminaguard.image.deb import Alternative, alternatives, payload
from luminaguard.image.initrd import build_initrd
from luminaguard.image.manifest import ArtifactRecord, KernelRecord
from luminaguard.image.modules import ModuleLibrary
from luminaguard.image.policies import compile_policies
from luminaguard.image.recipe import Recipe
from luminaguard.image.skeleton import furnish
from luminaguard.image.squashfs import write_squashfs
from luminaguard.image.tree import Tree
from luminaguard.image.unpack import unpack

Progress = Callable[[str, float | None], None]
"""Is told the stage, and the fraction of it that is done (None: not known)."""

_KERNEL_PACKAGES = ("linux-image", "linux-modules")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """What came out of a build, beside its files."""

    kernel: KernelRecord
    artifacts: dict[str, ArtifactRecord]
    contents: Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trees:
    """The packages' contents, apart: what goes into the root disk and what into the RAM disk."""

    root: Tree
    kernel: Tree
    shell: Tree


def assemble(
    packages: Sequence[tuple[Package, Path]],
    recipe: Recipe,
    place: Path,
    progress: Progress,
    *,
    add: Callable[[Tree, Path], None] | None = None,
) -> Assembly:
    """Write `kernel`, `initrd`, `rootfs` and the policies of its kernel into `place/out`.

    `packages`: each with its verified file, in install order. `place` is an empty directory that
    also receives up to twice the packages' unpacked size. `add` is given the finished root and the
    directory with everything that a machine boots from, and may add to the root.
    """
    trees = _unpack(packages, recipe, place, progress)
    progress("compiling Python", None)
    compile_python(trees.root)
    out = place / "out"
    out.mkdir(mode=0o700)
    progress("writing the initial RAM disk", None)
    kernel = _write_boot_files(trees, recipe, out)
    _write_root(trees.root, out, progress)
    names = ("kernel", "initrd", "rootfs", *compile_policies(out))
    if add is not None:
        add(trees.root, out)
        _write_root(trees.root, out, progress)
    artifacts = {name: record(out / name) for name in names}
    return Assembly(kernel=kernel, artifacts=artifacts, contents=contents_of(trees.root))


def _write_root(root: Tree, out: Path, progress: Progress) -> None:
    (out / "rootfs").unlink(missing_ok=True)
    write_squashfs(root, out / "rootfs", lambda done: progress("writing the root disk", done))


def _unpack(
    packages: Sequence[tuple[Package, Path]], recipe: Recipe, place: Path, progress: Progress
) -> _Trees:
    trees = _Trees(**{name: _tree(place / name) for name in ("root", "kernel", "shell")})
    offered: list[Alternative] = []
    for count, (package, path) in enumerate(packages, start=1):
        tree = _destination(trees, package, recipe)
        with payload(path) as archive:
            unpack(archive, tree, origin=package.name, drop=recipe.drop)
        if tree is trees.root:
            offered += alternatives(path)
        progress("unpacking packages", count / len(packages))
    furnish(trees.root, offered)
    return trees


def _tree(staging: Path) -> Tree:
    staging.mkdir(mode=0o700)
    return Tree(staging)


def _destination(trees: _Trees, package: Package, recipe: Recipe) -> Tree:
    if package.name == recipe.shell:
        return trees.shell
    return trees.kernel if package.name.startswith(_KERNEL_PACKAGES) else trees.root


def _write_boot_files(trees: _Trees, recipe: Recipe, out: Path) -> KernelRecord:
    kernel = _only(trees.kernel.files("boot/vmlinu[xz]-*"), "guest kernel")
    busybox = _only(trees.shell.files("usr/bin/busybox"), "static shell")
    version = kernel.partition("-")[2]
    library = ModuleLibrary(trees.kernel.staging / "usr/lib/modules" / version)
    modules = library.resolve(recipe.modules, recipe.optional_modules)
    trees.kernel.content(kernel).rename(out / "kernel")
    initrd = build_initrd(
        init=recipe.init, busybox=trees.shell.content(busybox).read_bytes(), modules=modules
    )
    (out / "initrd").write_bytes(initrd)
    return KernelRecord(
        version=version,
        modules=tuple(name for name, _ in modules.files),
        builtin=modules.builtin,
    )


def _only(paths: list[str], what: str) -> str:
    if len(paths) != 1:
        raise ImageError(f"the packages bring {len(paths)} of: {what}; exactly one is needed")
    return paths[0]


def record(path: Path) -> ArtifactRecord:
    """Return what a file must be from now on."""
    with path.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    return ArtifactRecord(sha256=digest, size=path.stat().st_size)
