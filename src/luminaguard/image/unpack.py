"""From the files of a package to names in the guest's root directory.

Packages are signed, but a name that leaves the staging area would be written on the host: so
each member is checked as if it were hostile.
"""

import os
import shutil
import stat
import tarfile
from fnmatch import fnmatchcase

from luminaguard.errors import ImageError
from luminaguard.image.tree import Tree, merged

_SETUID = stat.S_ISUID | stat.S_ISGID


def unpack(archive: tarfile.TarFile, tree: Tree, *, origin: str, drop: tuple[str, ...]) -> None:
    """Add a package's files, without setuid and setgid bits.

    `drop`: shell patterns of paths that are skipped, with everything below them.

    Raises:
        ImageError: a member's name or kind has no place in a root directory.
    """
    for member in archive:
        original = _checked(member.name, origin)
        path = merged(original)
        if not path or _dropped(path, drop):
            continue
        if member.issym():
            tree.symlink(path, _retargeted(original, path, member.linkname))
        elif member.islnk():
            tree.hard_link(path, merged(_checked(member.linkname, origin)))
        elif member.isdir():
            tree.directory(path, mode=_permissions(member))
        elif member.isfile():
            _write(archive, member, tree, path)
        else:
            raise ImageError(f"{origin} has a device or pipe at {member.name!r}")


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree, path: str) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise ImageError(f"{member.name!r} has no content")
    with source, tree.place(path, _permissions(member)).open("xb") as sink:
        shutil.copyfileobj(source, sink)


def _permissions(member: tarfile.TarInfo) -> int:
    return stat.S_IMODE(member.mode) & ~_SETUID


def _dropped(path: str, drop: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*") for pattern in drop)


def _checked(name: str, origin: str) -> str:
    """Return a member's name without `./`, refusing one that could leave the root."""
    path = name.removeprefix("./").rstrip("/")
    if path in {"", "."} and not name.startswith("/"):
        return ""
    if "\0" in path or {"", ".", ".."} & set(path.split("/")):
        raise ImageError(f"{origin} has a member with the unusable name {name!r}")
    return path


def _retargeted(original: str, path: str, target: str) -> str:
    """Keep a relative link right when its directory moved below `/usr`."""
    if path == original or target.startswith("/"):
        return target
    aim = os.path.normpath(os.path.join("/", os.path.dirname(original), target)).lstrip("/")
    return os.path.relpath(merged(aim), os.path.dirname(path))
