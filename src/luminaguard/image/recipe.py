"""What a guest image is made from: packages, what is left out of them, and kernel modules."""

import platform
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

from luminaguard.errors import ImageError

DEFAULT_NAME = "default"

# Source: Debian Policy 5.6.1. Anything else could be read as an option by apt-get.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides an image, besides the packages' contents."""

    name: str
    version: int
    """Raised whenever the same packages should give a different image."""
    packages: tuple[str, ...]
    asked: tuple[str, ...]
    """Those among them that the user asked for."""
    leave_out: tuple[str, ...]
    """Shell patterns of packages that are resolved but neither fetched nor unpacked."""
    drop: tuple[str, ...]
    """Shell patterns of paths, without the leading slash, that are not taken from packages."""
    shell: str
    """Package that brings the static shell of the initial RAM disk."""
    modules: tuple[str, ...]
    optional_modules: tuple[str, ...]
    kernels: Mapping[str, Mapping[str, str]]
    """Distribution → architecture → package that brings the kernel."""
    init: bytes
    """The first program of the guest, a shell script."""

    def kernel_package(self, distribution: str, architecture: str) -> str:
        """Return the kernel's package for a host.

        Raises:
            ImageError: no kernel package is known for it.
        """
        try:
            return self.kernels[distribution][architecture]
        except KeyError:
            known = ", ".join(
                f"{name} ({'/'.join(sorted(table))})"
                for name, table in sorted(self.kernels.items())
            )
            raise ImageError(
                f"no guest kernel is known for {distribution} on {architecture}",
                hint=f"build the image on one of: {known}",
            ) from None

    def takes(self, package: str) -> bool:
        """Whether a resolved package belongs into the image."""
        return not any(fnmatchcase(package, pattern) for pattern in self.leave_out)


def load_recipe(
    name: str = DEFAULT_NAME, *, packages: tuple[str, ...] = (), needed: tuple[str, ...] = ()
) -> Recipe:
    """Read the recipe that ships with LuminaGuard, with further packages added.

    `packages`: what the user asked for; `needed`: what other additions need.

    Raises:
        ImageError: something cannot be the name of a package.
    """
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise ImageError(f"{package!r} cannot be the name of a package")
    recipes = files("luminaguard.image") / "recipes"
    table: dict[str, Any] = tomllib.loads((recipes / "default.toml").read_text(encoding="utf-8"))
    initrd = table["initrd"]
    return Recipe(
        name=name,
        version=table["version"],
        packages=tuple(sorted({*table["packages"], *packages, *needed})),
        asked=tuple(sorted(set(packages))),
        leave_out=tuple(pattern for pattern in table["leave_out"] if pattern not in packages),
        drop=tuple(table["drop"]),
        shell=initrd["shell"],
        modules=tuple(initrd["modules"]),
        optional_modules=tuple(initrd["optional_modules"]),
        kernels=table["kernel"],
        init=(recipes / "init").read_bytes(),
    )


def host_distribution() -> str:
    """Return the ID of this host's os-release, or of the distribution it is like.

    Raises:
        ImageError: the host cannot build images.
    """
    hint = (
        "build the image on Debian 12, Debian 13 or Ubuntu 24.04 and install it here as a package: "
        "docs/internals/guest-package.md"
    )
    if platform.system() != "Linux":
        raise ImageError(f"{platform.system()} cannot build guest images", hint=hint)
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        raise ImageError("this Linux does not say which distribution it is", hint=hint) from None
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    for name in names:
        if name in {"debian", "ubuntu"}:
            return name
    raise ImageError(f"{names[0] or 'this distribution'} cannot build guest images", hint=hint)
