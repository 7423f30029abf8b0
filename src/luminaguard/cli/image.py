"""`luminaguard image`: build, list and verify guest images."""

import json
import time
from pathlib import Path
from typing import Any

import click

from luminaguard.cli.stages import Stages
from luminaguard.image.build import build
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import Manifest
from luminaguard.image.recipe import load_recipe
from luminaguard.image.store import ImageStore

_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def image() -> None:
    """Build, list and verify the images that micro-VMs boot from."""


@image.command("build")
@click.argument("name", default="default")
@click.option("--package", "packages", multiple=True, help="A further package; repeatable.")
@click.option("--rebuild", is_flag=True, help="Build even if nothing changed.")
@_as_json
def build_command(name: str, packages: tuple[str, ...], rebuild: bool, as_json: bool) -> None:
    """Build the image NAME from the host's packages and make it the current one.

    Needs no root, and no network once the packages are in the cache.
    """
    store = _store()
    started = time.monotonic()
    with Stages() as stages:
        built = build(store, load_recipe(name, packages=packages), stages.show, rebuild=rebuild)
    seconds = round(time.monotonic() - started, 1)
    manifest = store.manifest(built)
    if as_json:
        click.echo(json.dumps({**_facts(built, manifest), "current": True, "seconds": seconds}))
        return
    click.echo(
        f"image {name} {built.digest[:12]}: Linux {manifest.kernel.version}, "
        f"{len(manifest.packages)} packages, {_mb(manifest)} MB, in {seconds} s"
    )


@image.command("list")
@_as_json
def list_command(as_json: bool) -> None:
    """Show the images that are here; * marks the one that new machines use."""
    store = _store()
    images = [(each, store.manifest(each)) for each in store.list()]
    rows = [
        {**_facts(each, manifest), "current": _is_current(store, each, manifest)}
        for each, manifest in images
    ]
    if as_json:
        click.echo(json.dumps({"images": rows}))
        return
    if not rows:
        click.echo("no images; make one with: luminaguard image build")
        return
    click.echo(f"  {'NAME':<16} {'DIGEST':<12} {'KERNEL':<26} {'PACKAGES':>8} {'MB':>5}")
    for each, manifest in images:
        mark = "*" if _is_current(store, each, manifest) else " "
        click.echo(
            f"{mark} {manifest.name:<16} {each.digest[:12]:<12} "
            f"{manifest.kernel.version:<26} {len(manifest.packages):>8} {_mb(manifest):>5}"
        )


@image.command("verify")
@click.argument("name", default="default")
@_as_json
def verify_command(name: str, as_json: bool) -> None:
    """Read all files of the current image NAME and compare them with its manifest."""
    store = _store()
    current = store.current(name)
    store.verify(current)
    manifest = store.manifest(current)
    if as_json:
        click.echo(json.dumps({**_facts(current, manifest), "current": True, "intact": True}))
        return
    click.echo(f"image {name} {current.digest[:12]}: {len(manifest.artifacts)} files are intact")


def _store() -> ImageStore:
    cache_dir: Path = click.get_current_context().obj.cache_dir
    return ImageStore(cache_dir)


def _is_current(store: ImageStore, built: GuestImage, manifest: Manifest) -> bool:
    return store.current(manifest.name).digest == built.digest


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
