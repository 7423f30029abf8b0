"""`luminaguard image`: build, list, verify and remove guest images."""

import json
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from luminaguard.cli.imagedoctor import doctor_command
from luminaguard.cli.stages import Stages
from luminaguard.config import Settings
from luminaguard.errors import ImageError
from luminaguard.image.additions.gather import Wanted, left_out
from luminaguard.image.additions.npmlock import read_lock
from luminaguard.image.additions.requirements import read_requirements
from luminaguard.image.build import build, host_architecture
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import Manifest, PackageKind
from luminaguard.image.packaged import packaged
from luminaguard.image.recipe import load_recipe
from luminaguard.image.store import ImageStore
from luminaguard.image.turn import alone
from luminaguard.image.unused import forget_unused
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.workbench import MachineWorkbench

_PATIENCE_S = 300.0

_FILE = click.Path(path_type=Path, dir_okay=False)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def image() -> None:
    """Build, list, verify and remove the images that micro-VMs boot from."""


@image.command("build")
@click.argument("name", default="default")
@click.option("--package", "packages", multiple=True, help="A further package; repeatable.")
@click.option(
    "--requirements",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Add the Python packages that a requirements file names; repeatable.",
)
@click.option(
    "--npm", "lock", type=_FILE, metavar="LOCK", help="Add the packages of a package-lock.json."
)
@click.option("--rebuild", is_flag=True, help="Build even if nothing changed.")
@_as_json
def build_command(
    name: str,
    packages: tuple[str, ...],
    requirements: tuple[Path, ...],
    lock: Path | None,
    rebuild: bool,
    as_json: bool,
) -> None:
    """Build the image NAME from the host's packages and make it the current one.

    Needs no root, and no network once the packages are in the cache. Python and npm packages are
    downloaded without running anything of them, and installed in a machine without a network.
    """
    store = _store()
    started = time.monotonic()
    wanted = Wanted(
        requirements=read_requirements(requirements) if requirements else None,
        npm=read_lock(lock, host_architecture()) if lock else None,
    )
    recipe = load_recipe(name, packages=packages, needed=wanted.debian_packages)
    before = _kinds(store, name)
    with Stages() as stages, _workbench() as workbench:
        built = build(
            store, recipe, stages.show, wanted=wanted, workbench=workbench, rebuild=rebuild
        )
    seconds = round(time.monotonic() - started, 1)
    manifest = store.manifest(built)
    left = left_out(wanted) + _no_longer(before, _kinds(store, name))
    if as_json:
        facts = {**_facts(built, manifest), "current": True, "seconds": seconds, "notes": left}
        click.echo(json.dumps(facts))
        return
    click.echo(
        f"image {name} {built.digest[:12]}: Linux {manifest.kernel.version}, "
        f"{_counted(manifest)}, {_mb(manifest)} MB, in {seconds} s"
    )
    for note in left:
        click.echo(f"  note: {note}")


image.add_command(doctor_command)


@image.command("list")
@_as_json
def list_command(as_json: bool) -> None:
    """Show the images that are here; * marks the one that new machines use."""
    store = _store()
    rows = [_row(store, each, each.directory.parent.name) for each in store.list()]
    rows += [_row(store, each, name) for name, each in packaged()]
    if as_json:
        click.echo(json.dumps({"images": rows}))
        return
    if not rows:
        click.echo("no images; make one with: luminaguard image build")
        return
    click.echo(f"  {'NAME':<16} {'DIGEST':<12} {'KERNEL':<26} {'PACKAGES':>8} {'MB':>5}  SOURCE")
    for row in rows:
        start = f"{'*' if row['current'] else ' '} {row['name']:<16} {row['digest'][:12]:<12}"
        if row["damage"]:
            click.echo(f"{start} {row['damage']}")
        else:
            size = round(row["size_bytes"] / 1_000_000)
            click.echo(
                f"{start} {row['kernel']:<26} {row['packages']:>8} {size:>5}  {row['source']}"
            )


@image.command("verify")
@click.argument("name", required=False)
@_as_json
def verify_command(name: str | None, as_json: bool) -> None:
    """Read all files of the current image NAME, or of all, and compare them with its manifest."""
    store = _store()
    rows = [_verified(store, each) for each in ([name] if name else store.names() or ["default"])]
    if as_json:
        click.echo(json.dumps(rows[0] if name else {"images": rows}))
        return
    for row in rows:
        click.echo(f"image {row['name']} {row['digest'][:12]}: {row['files']} files are intact")


def _verified(store: ImageStore, name: str) -> dict[str, Any]:
    current = store.current(name)
    store.verify(current)
    manifest = store.manifest(current)
    files = len(manifest.artifacts)
    return {**_facts(current, manifest), "current": True, "intact": True, "files": files}


def _row(store: ImageStore, each: GuestImage, name: str) -> dict[str, Any]:
    """Return what is known of an image; a damaged one must not hide the others."""
    source = "package" if each.package else "built"
    try:
        manifest = store.manifest(each)
        current = store.current(name) == each
    except ImageError as error:
        damage = f"{error} ({error.hint})" if error.hint else str(error)
        known = {"name": name, "digest": each.digest, "source": source}
        return {**known, "current": False, "damage": damage}
    return {**_facts(each, manifest), "source": source, "current": current, "damage": None}


@image.command("remove")
@click.argument("name")
@_as_json
def remove_command(name: str, as_json: bool) -> None:
    """Remove the image NAME, and the fetched packages that no other image was made from.

    Machines that still run from it are not disturbed.
    """
    store = _store()
    with alone(store.cache_dir / "image-build.lock", _PATIENCE_S, _quiet):
        freed = store.remove(name)
        forget_unused(store)
    if as_json:
        click.echo(json.dumps({"name": name, "removed": True, "freed_bytes": freed}))
        return
    click.echo(f"image {name} is removed: {round(freed / 1_000_000)} MB")


def _quiet(_stage: str, _done: float | None) -> None:
    pass


def _store() -> ImageStore:
    cache_dir: Path = click.get_current_context().obj.cache_dir
    return ImageStore(cache_dir)


@contextmanager
def _workbench() -> Generator[MachineWorkbench]:
    """Lend what makes build machines; it costs nothing until one is made."""
    settings: Settings = click.get_current_context().obj
    hypervisor = QemuHypervisor(
        settings.cache_dir,
        settings.runtime_dir,
        allow_missing=frozenset(settings.vm.allow_missing_layers),
    )
    try:
        yield MachineWorkbench(hypervisor, settings.cache_dir)
    finally:
        hypervisor.close()


_OPTIONS = {PackageKind.WHEEL: "--requirements", PackageKind.NPM: "--npm"}


def _kinds(store: ImageStore, name: str) -> frozenset[PackageKind]:
    try:
        manifest = store.manifest(store.current(name))
    except ImageError:
        return frozenset()
    return frozenset(each.kind for each in manifest.packages)


def _no_longer(before: frozenset[PackageKind], after: frozenset[PackageKind]) -> list[str]:
    """Say what the image before had and this one has not, as its options were not given again."""
    return [
        f"the image before had packages by {option}; this one was built without"
        for kind, option in _OPTIONS.items()
        if kind in before and kind not in after
    ]


def _counted(manifest: Manifest) -> str:
    counts = Counter(each.kind for each in manifest.packages)
    parts = [f"{counts[PackageKind.DEB]} packages"]
    for kind, word in ((PackageKind.WHEEL, "wheel"), (PackageKind.NPM, "npm package")):
        if counts[kind]:
            parts.append(f"{counts[kind]} {word}{'' if counts[kind] == 1 else 's'}")
    return ", ".join(parts)


def _facts(built: GuestImage, manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "digest": built.digest,
        "directory": str(built.directory),
        "distribution": manifest.distribution,
        "architecture": manifest.architecture,
        "kernel": manifest.kernel.version,
        "packages": len(manifest.packages),
        "size_bytes": _size(manifest),
    }


def _size(manifest: Manifest) -> int:
    return sum(artifact.size for artifact in manifest.artifacts.values())


def _mb(manifest: Manifest) -> int:
    return round(_size(manifest) / 1_000_000)
