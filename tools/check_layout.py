"""Check what no linter sees: sizes, private modules, root entries, and traces of one machine.

Exit code 1 and one line for each breach; nothing on success. Only files that git tracks, or would
track, are looked at.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_LINES = {"src": 400, "tests": 500, "tools": 200, "benchmarks": 400, "examples": 400}
MAX_ROOT_ENTRIES = 19

TRACES = re.compile(
    r"(?P<path>(?<![\w.])/(?:work/(?:main|shared|\.)|root/\.(?:pyenv|cache|local|npm)|tmp/[l]g\b))"
    r"|(?P<registry>\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|(?:deb|security|snapshot|ftp)"
    r"\.debian\.org|(?:archive|security|ports)\.ubuntu\.com|ghcr\.io|docker\.io|proxy\.golang\.org))"
    r"|(?P<address>\b(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2}\b)"
)
"""What must not be in a commit: one machine's paths, registry hosts, private network addresses."""

FIXES = {
    "path": "a path of one machine; use a relative or temporary one",
    "registry": "a registry's host; use what the host's package manager is configured with",
    "address": "a private network address",
}


def tracked(root: Path) -> list[PurePosixPath]:
    """Return every file that is in git or would be added, relative to `root`, sorted."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    )
    paths = (PurePosixPath(name) for name in listing.stdout.split("\0") if name)
    return sorted(path for path in paths if (root / path).is_file())


def size_breach(path: PurePosixPath, text: str) -> Iterator[str]:
    """Yield a line when a Python file is longer than its folder allows."""
    limit = MAX_LINES.get(path.parts[0])
    lines = text.count("\n")
    if path.suffix == ".py" and limit is not None and lines > limit:
        yield f"{path}: {lines} lines, at most {limit}: split it by concept"


def trace_breaches(path: PurePosixPath, text: str) -> Iterator[str]:
    """Yield a line for each trace of one machine or network."""
    for number, line in enumerate(text.splitlines(), start=1):
        for match in TRACES.finditer(line):
            yield f"{path}:{number}: {match.group()!r} is {FIXES[match.lastgroup or 'path']}"


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) for everything a module imports, `from x import y` as x.y."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def owner_of_private(name: str) -> str | None:
    """Return the package that owns the first private module in a dotted name, None without one."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.startswith("_") and not part.startswith("__") and index > 0:
            return ".".join(parts[:index])
    return None


def private_breaches(path: PurePosixPath, text: str) -> Iterator[str]:
    """Yield a line for each import of another package's `_private` module."""
    if path.suffix != ".py" or path.parts[0] != "src":
        return
    module = ".".join(path.with_suffix("").parts[1:])
    for line, name in imported(ast.parse(text)):
        owner = owner_of_private(name) if name.startswith("luminaguard") else None
        if owner is not None and not module.startswith(f"{owner}."):
            yield f"{path}:{line}: {name} is private to {owner}"


def root_breach(paths: list[PurePosixPath]) -> Iterator[str]:
    """Yield a line when the repository's root holds too many entries."""
    entries = {path.parts[0] for path in paths}
    if len(entries) > MAX_ROOT_ENTRIES:
        yield f"{len(entries)} entries in the root, at most {MAX_ROOT_ENTRIES}: {sorted(entries)}"


def breaches(root: Path) -> Iterator[str]:
    """Yield every breach in the tree."""
    paths = tracked(root)
    yield from root_breach(paths)
    for path in paths:
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        yield from size_breach(path, text)
        yield from trace_breaches(path, text)
        yield from private_breaches(path, text)


def main() -> int:
    """Print every breach and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    found = list(breaches(parser.parse_args().root))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
