"""The guest's own interpreter, run on the host straight from the staging area.

What it compiles, and what pip chooses while it runs in it, then fits the guest exactly: version,
C library and environment markers are the guest's. No program of an added package is run this way.
"""

import os
import re
import subprocess
from collections.abc import Mapping

from luminaguard.errors import ImageError
from luminaguard.image.tree import Tree

_VERSION = re.compile(r"python(3\.\d+)$")


class GuestPython:
    """Python of a tree, with the tree's own loader and libraries."""

    def __init__(self, tree: Tree) -> None:
        """Find it.

        Raises:
            ImageError: the tree has no Python, or more than one.
        """
        self._tree = tree
        self._loader = _only(tree.files("usr/lib/*-linux-gnu*/ld-linux-*.so.*"), "dynamic loader")
        self._python = _only(tree.files("usr/bin/python3.[0-9]*"), "Python")
        tree.content(self._loader).chmod(0o755)

    @property
    def version(self) -> str:
        """Major and minor version: "3.11"."""
        return python_version(self._tree)

    def run(
        self,
        *arguments: str,
        timeout_s: float,
        environment: Mapping[str, str],
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the interpreter without site packages, in the staging area, to its end.

        `environment` is all it gets, besides what makes it find its library.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        content = self._tree.content
        command = [
            *(str(content(self._loader)), "--library-path"),
            str(content(os.path.dirname(self._loader))),
            *(str(content(self._python)), "-S", "-s", "-P"),
            *arguments,
        ]
        own = {
            "PYTHONHOME": str(self._tree.staging / "usr"),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            command,
            input=stdin,
            env={**environment, **own},
            cwd=self._tree.staging,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )


def python_version(tree: Tree) -> str:
    """Return the version of a tree's Python, "3.11"; empty if it has none or several."""
    found = {
        match[1]
        for path in tree.files("usr/bin/python3.[0-9]*")
        if (match := _VERSION.search(path))
    }
    return found.pop() if len(found) == 1 else ""


def packages_directory(version: str) -> str:
    """Return where the guest's Python looks for what did not come as a Debian package.

    Source: Debian Python Policy 1.1.2, "Module Path".
    """
    return f"usr/local/lib/python{version}/dist-packages"


def _only(paths: list[str], what: str) -> str:
    if len(paths) != 1:
        raise ImageError(f"the packages bring {len(paths)} of: {what}; exactly one is needed")
    return paths[0]
