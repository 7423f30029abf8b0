"""pip for the guest's own Python: the distribution's, unpacked beside it, neither on the host.

Chosen this way, wheels fit the guest's version, C library and environment markers exactly,
whatever Python the host has, and the host needs no pip.
"""

from collections.abc import Sequence
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image.apt import Package
from luminaguard.image.deb import payload
from luminaguard.image.guestpython import GuestPython
from luminaguard.image.tree import Tree
from luminaguard.image.unpack import unpack

PIP_PACKAGE = "python3-pip-whl"
"""Debian package that holds pip as one wheel, which runs without being installed."""


def guest_pip(
    packages: Sequence[tuple[Package, Path]], pip: Path, place: Path, drop: tuple[str, ...]
) -> tuple[GuestPython, Path]:
    """Unpack Python and pip below `place`; return the interpreter and pip's wheel.

    `packages`: Python with all that it needs, each with its file; `pip`: the file of `PIP_PACKAGE`.

    Raises:
        ImageError: one of them is damaged, or not what it should be.
    """
    root, tools = place / "python", place / "tools"
    for directory in (place, root, tools):
        directory.mkdir(mode=0o700)
    tree, beside = Tree(root), Tree(tools)
    for package, path in packages:
        with payload(path) as archive:
            unpack(archive, tree, origin=package.name, drop=drop)
    with payload(pip) as archive:
        unpack(archive, beside, origin=PIP_PACKAGE, drop=())
    wheels = beside.files("usr/share/python-wheels/pip-*.whl")
    if len(wheels) != 1:
        raise ImageError(f"{PIP_PACKAGE} brings {len(wheels)} wheels of pip; exactly one is needed")
    return GuestPython(tree), beside.content(wheels[0])
