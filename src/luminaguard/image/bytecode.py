"""Byte code for the guest's Python, compiled on the host by the guest's own interpreter.

The root is read-only and emulated CPUs are slow: without this, each start of Python would compile
its libraries from source. "unchecked-hash" files carry no time, so they come out identical.
"""

import os
import subprocess

from luminaguard.errors import ImageError
from luminaguard.image.tree import Tree

_TIMEOUT_S = 300.0


def compile_python(tree: Tree) -> None:
    """Add a `.pyc` for each Python module of the tree; modules that do not compile are skipped.

    The interpreter runs straight from the staging area, with the tree's own loader and libraries.

    Raises:
        ImageError: the tree has no Python that runs on this host.
    """
    loader = _only(tree.files("usr/lib/*-linux-gnu*/ld-linux-*.so.*"), "dynamic loader")
    python = _only(tree.files("usr/bin/python3.[0-9]*"), "Python")
    sources = tree.files("usr/lib/python3*.py")
    tree.content(loader).chmod(0o755)
    command = [
        str(tree.content(loader)), "--library-path", str(tree.content(os.path.dirname(loader))),
        str(tree.content(python)), "-S", "-m", "compileall", "-qq", "-i", "-",
        "-s", str(tree.staging), "-p", "/", "--invalidation-mode", "unchecked-hash",
    ]  # fmt: skip
    # Nothing of the surroundings may show in the byte code, random hashes included.
    environment = {
        "PYTHONHOME": str(tree.staging / "usr"), "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    result = subprocess.run(
        command,
        input="".join(f"{tree.content(source)}\n" for source in sources).encode(),
        env=environment, cwd=tree.staging, capture_output=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    compiled = sorted((tree.staging / "usr/lib").glob("python3*/**/__pycache__/*.pyc"))
    if not compiled:
        reason = result.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ImageError(f"the guest's Python does not run on this host: {reason}")
    for path in compiled:
        tree.adopt(path.relative_to(tree.staging).as_posix())


def _only(paths: list[str], what: str) -> str:
    if len(paths) != 1:
        raise ImageError(f"the packages bring {len(paths)} of: {what}; exactly one is needed")
    return paths[0]
