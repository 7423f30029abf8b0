"""The build machine's disk: the installer, its plan, and everything that it installs."""

import io
import json
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from luminaguard.image.additions.npmlock import NpmPackage
from luminaguard.image.places import MODULES_HOME
from luminaguard.image.squashfs import write_archive

COMMAND = ("/usr/bin/python3", "-S", "-s", "-B", "-m", "luminaguard.image.inside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacking:
    """An npm package, its tarball, and the directory in the image that its path is below."""

    package: NpmPackage
    tarball: Path
    home: str = MODULES_HOME


def write_disk(
    destination: Path, *, wheels: Sequence[Path], npm: Sequence[Unpacking], python: str
) -> None:
    """Write a squashfs with everything that `luminaguard.image.inside` needs."""

    def fill(archive: tarfile.TarFile) -> None:
        plan = {
            "python": python,
            "wheels": [f"wheels/{wheel.name}" for wheel in wheels],
            "npm": [
                {"file": f"npm/{count}.tgz", "directory": f"{each.home}/{each.package.path}"}
                for count, each in enumerate(npm)
            ],
            "commands": [pair for each in npm for pair in _commands(each)],
        }
        _add(archive, "plan.json", json.dumps(plan, sort_keys=True).encode())
        for name, source in installer():
            _add(archive, name, source)
        for wheel in wheels:
            _add_file(archive, f"wheels/{wheel.name}", wheel)
        for count, each in enumerate(npm):
            _add_file(archive, f"npm/{count}.tgz", each.tarball)

    write_archive(fill, destination)


def installer() -> Iterator[tuple[str, bytes]]:
    """Yield the sources that run in the build machine, as paths that Python can import."""
    inside = files("luminaguard.image") / "inside"
    yield "luminaguard/__init__.py", b""
    yield "luminaguard/image/__init__.py", b""
    for source in sorted(inside.iterdir(), key=lambda each: each.name):
        if source.name.endswith(".py"):
            yield f"luminaguard/image/inside/{source.name}", source.read_bytes()


def _commands(each: Unpacking) -> Iterator[tuple[str, str]]:
    """Yield (link, file) for a package's commands, as npm lays them."""
    directory = f"{each.home}/{each.package.path}"
    # Of the path, not of the package: a lock may place a package under another name.
    beside = f"{directory.rpartition('/node_modules/')[0]}/node_modules"
    place = f"{beside}/.bin" if each.home == MODULES_HOME else "usr/local/bin"
    for name, file in each.package.bins:
        yield f"{place}/{name}", f"{directory}/{file}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
    archive.addfile(member, io.BytesIO(content))


def _add_file(archive: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    member.mode = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
    with path.open("rb") as source:
        archive.addfile(member, source)
