"""Unpacking npm packages where the lock says, and linking their commands. No script is run."""

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from luminaguard.image.inside.unusable import Unusable


def unpack_tarball(tarball: Path, directory: Path) -> None:
    """Unpack a package's regular files into `directory`, less the archive's first level.

    Links and devices are left out, as npm does.

    Raises:
        Unusable: it is damaged, or names files outside of it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if member.name.startswith("/") or ".." in path.parts:
                    raise Unusable(f"{tarball.name}: {member.name!a} lies outside of its package")
                source = archive.extractfile(member) if member.isfile() else None
                if source is not None and len(path.parts) > 1:
                    target = directory.joinpath(*path.parts[1:])
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(source.read())
                    target.chmod(0o755 if member.mode & 0o111 else 0o644)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Unusable(f"{tarball.name} cannot be unpacked: {error}") from error


def link_commands(commands: Sequence[Sequence[str]], out: Path) -> None:
    """Make links for commands, and their files executable: each is (link, file), below `out`."""
    for link, file in commands:
        source, target = out / link, out / file
        if not target.is_file() or source.exists() or source.is_symlink():
            continue
        target.chmod(0o755)
        source.parent.mkdir(parents=True, exist_ok=True)
        source.symlink_to(os.path.relpath(target, source.parent))
