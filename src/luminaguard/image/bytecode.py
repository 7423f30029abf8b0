"""Byte code for the guest's Python, compiled on the host by the guest's own interpreter.

The root is read-only and emulated CPUs are slow: without this, each start of Python would compile
its libraries from source. "unchecked-hash" files carry no time, so they come out identical.
"""

from luminaguard.errors import ImageError
from luminaguard.image.guestpython import GuestPython
from luminaguard.image.tree import Tree

_TIMEOUT_S = 300.0


def compile_python(tree: Tree) -> None:
    """Add a `.pyc` for each Python module of the tree; modules that do not compile are skipped.

    The interpreter runs straight from the staging area, with the tree's own loader and libraries.

    Raises:
        ImageError: the tree has no Python that runs on this host.
    """
    python = GuestPython(tree)
    sources = tree.files("usr/lib/python3*.py")
    # Nothing of the surroundings may show in the byte code: the environment is empty.
    result = python.run(
        *("-m", "compileall", "-qq", "-i", "-", "-s", str(tree.staging), "-p", "/"),
        *("--invalidation-mode", "unchecked-hash"),
        stdin="".join(f"{tree.content(source)}\n" for source in sources).encode(),
        environment={},
        timeout_s=_TIMEOUT_S,
    )
    compiled = sorted((tree.staging / "usr/lib").glob("python3*/**/__pycache__/*.pyc"))
    if not compiled:
        reason = result.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ImageError(f"the guest's Python does not run on this host: {reason}")
    for path in compiled:
        tree.adopt(path.relative_to(tree.staging).as_posix())
