"""Find the ignore rules that git would apply to a workspace, without running git in it."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from luminaguard.workspace.confined import Descent, read_all
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.gitindex import MAX_INDEX_BYTES, UnreadableIndex, tracked_paths
from luminaguard.workspace.send.ignore import IgnoreRules, RuleFile

MAX_RULES_BYTES = 1 << 20
_SHA256_REPOSITORY = re.compile(rb"(?im)^\s*objectformat\s*=\s*sha256\s*$")


def read_rules(
    root: WorkspaceRoot, *, include: Sequence[str] = (), global_lines: Sequence[str] | None = None
) -> IgnoreRules:
    """Collect a workspace's ignore rules, except the nested files that a scan meets by itself.

    Args:
        root: The workspace.
        include: Patterns of `--include`.
        global_lines: Rules of the user's global file; by default they are read from it.
    """
    with Descent(root.fd) as tree:
        own_git = _is_directory(tree, ".git")
        exclude = _read(tree, ".git/info/exclude", MAX_RULES_BYTES) if own_git else b""
        index = _read(tree, ".git/index", MAX_INDEX_BYTES) if own_git else b""
        config = _read(tree, ".git/config", MAX_RULES_BYTES) if own_git else b""
    outer = [] if own_git else list(_rules_above(root.path))
    if global_lines is None:
        global_lines = _global_lines()
    fallbacks = [RuleFile(lines_of(exclude)), *outer, RuleFile(global_lines)]
    return IgnoreRules(fallbacks=fallbacks, tracked=_tracked(index, config), include=include)


def lines_of(content: bytes) -> list[str]:
    """Split an ignore file; bytes that are not UTF-8 stay as they are and so match nothing."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    return [line.removesuffix("\r") for line in text.split("\n")]


def _tracked(index: bytes, config: bytes) -> frozenset[str]:
    if not index:
        return frozenset()
    hash_bytes = 32 if _SHA256_REPOSITORY.search(config) else 20
    try:
        return tracked_paths(index, hash_bytes=hash_bytes)
    except UnreadableIndex:
        return frozenset()


def _is_directory(tree: Descent, path: str) -> bool:
    try:
        tree.directory(path)
    except OSError:
        return False
    return True


def _read(tree: Descent, path: str, limit: int) -> bytes:
    """Read a small file of the workspace; nothing where it is missing, a link or too large."""
    try:
        with tree.file(path) as fd:
            size = os.fstat(fd).st_size
            return read_all(fd, size) if size <= limit else b""
    except OSError:
        return b""


def _rules_above(path: Path) -> Iterator[RuleFile]:
    """Yield the rules of a repository that the workspace is a part of, nearest first."""
    found: list[RuleFile] = []
    for parent in path.parents:
        above = path.relative_to(parent).as_posix()
        found.append(RuleFile(_lines(parent / ".gitignore"), above=above))
        if (parent / ".git").is_dir():
            found.append(RuleFile(_lines(parent / ".git/info/exclude"), above=above))
            yield from found
            return


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_RULES_BYTES or not path.is_file():
            return []
        return lines_of(path.read_bytes())
    except OSError:
        return []


@cache
def _global_lines() -> tuple[str, ...]:
    return tuple(_lines(global_excludes_file(os.environ)))


def global_excludes_file(environment: Mapping[str, str]) -> Path:
    """Return where the user's global ignore rules lie.

    Git is asked with `/` as its directory and without `GIT_*` variables, so that no repository's
    configuration takes part.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    command = ["git", "config", "--global", "--type=path", "--get", "core.excludesFile"]
    try:
        asked = subprocess.run(
            command, cwd="/", env=kept, capture_output=True, check=False, timeout=5
        )
        named = os.fsdecode(asked.stdout.removesuffix(b"\n"))
    except (OSError, subprocess.TimeoutExpired):
        named = ""
    if named:
        return Path(named)
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(
        environment.get("HOME") or "/nonexistent", ".config"
    )
    return Path(home) / "git" / "ignore"
