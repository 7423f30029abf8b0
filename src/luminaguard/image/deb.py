"""Reading Debian packages without running anything in them."""

import re
import subprocess
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from luminaguard.errors import ImageError

_INSTALL = re.compile(
    r"update-alternatives\b[^\n;&|]*?--install\s+(\S+)\s+\S+\s+(\S+)\s+(\d+)([^\n;&|]*)"
)
_SLAVE = re.compile(r"--(?:slave|follower)\s+(\S+)\s+\S+\s+(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A link that a package would have registered: `/usr/bin/awk` → `/usr/bin/mawk`."""

    link: str
    target: str
    priority: int


def payload(package: Path) -> tarfile.TarFile:
    """Open a package's files.

    Raises:
        ImageError: the package is damaged.
    """
    return _open(package, "--fsys-tarfile")


def alternatives(package: Path) -> tuple[Alternative, ...]:
    """Return the alternatives that the package's installation script registers.

    The script is read as text, never run; what it computes at run time is not seen.
    """
    with _open(package, "--ctrl-tarfile") as archive:
        for member in archive:
            script = archive.extractfile(member) if member.isfile() else None
            if script is not None and member.name.removeprefix("./") == "postinst":
                return parse_alternatives(script.read().decode(errors="replace"))
    return ()


def parse_alternatives(script: str) -> tuple[Alternative, ...]:
    """Find `update-alternatives --install` with literal arguments in a shell script."""
    found: list[Alternative] = []
    for install in _INSTALL.finditer(script.replace("\\\n", " ")):
        link, target, priority, rest = install.groups()
        pairs = [(link, target), *_SLAVE.findall(rest)]
        found += [
            Alternative(link=each.lstrip("/"), target=aim.lstrip("/"), priority=int(priority))
            for each, aim in pairs
            if each.startswith("/") and aim.startswith("/") and "$" not in each + aim
        ]
    return tuple(found)


def _open(package: Path, part: str) -> tarfile.TarFile:
    # The unpacked tar is held in memory: at most a kernel's modules, about 100 MB.
    command = ["dpkg-deb", part, str(package)]
    result = subprocess.run(command, capture_output=True, check=False)
    try:
        if result.returncode != 0:
            raise tarfile.ReadError(result.stderr.decode(errors="replace").strip())
        return tarfile.open(fileobj=BytesIO(result.stdout), mode="r:")
    except tarfile.TarError as error:
        raise ImageError(
            f"{package.name} is damaged: {error}",
            hint=f"remove {package} and build again: it is fetched anew",
        ) from error
