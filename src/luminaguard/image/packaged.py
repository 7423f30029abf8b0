"""Images that came with an installed Python package, for hosts that cannot build their own.

Such a package names its directory with an entry point and brings no code: nothing of it is
imported. Below the directory lies one image, named for its digest as in the store.
"""

import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from luminaguard.image.image import GuestImage

GROUP = "luminaguard.images"
"""Entry point group: name of the image → directory in the package."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIRECTORY = re.compile(r"[A-Za-z0-9_]+")


def packaged() -> tuple[tuple[str, GuestImage], ...]:
    """Return name and image for each one that an installed package brings, damaged ones included.

    Nothing of the images is read. A package whose directory does not hold exactly one image gives
    one with an empty digest, which no manifest can have.
    """
    found = [(point.name, _image(point)) for point in entry_points(group=GROUP)]
    return tuple(sorted(found, key=lambda each: (each[0], each[1].package)))


def _image(point: EntryPoint) -> GuestImage:
    distribution = point.dist
    package = distribution.name if distribution is not None else "unknown"
    if distribution is None or not _DIRECTORY.fullmatch(point.value):
        return GuestImage(directory=Path(), digest="", package=package)
    home = Path(str(distribution.locate_file(point.value)))
    digests = [path for path in home.glob("*/manifest.json") if _DIGEST.fullmatch(path.parent.name)]
    if len(digests) != 1:
        return GuestImage(directory=home, digest="", package=package)
    directory = digests[0].parent
    return GuestImage(directory=directory, digest=directory.name, package=package)
