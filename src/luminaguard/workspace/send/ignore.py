"""What stays on the host, and what a guest makes that is not taken back: ignore rules.

Read from the host's files only, and before the guest runs: what a guest writes into a `.gitignore`
decides nothing. Git's order holds: the nearest `.gitignore` wins over those above it, then
`.git/info/exclude`, then the user's global file, then the caches that every test run makes.
Source: gitignore(5).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from luminaguard.workspace.send.gitindex import folders_of

CACHES = (
    "__pycache__/",
    "*.py[cod]",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".hypothesis/",
    ".coverage",
    ".coverage.*",
    ".DS_Store",
)
"""Made by running or testing code, never worth a question; applied where no rule says otherwise."""

_HOST_BINARIES = frozenset({".venv", ".tox", ".nox", ".direnv"})
VENV_MARKER = "pyvenv.cfg"
"""A directory that holds this file is a virtual environment. Source: PEP 405."""

_BELOW = "ps_d"
"""pathspec's name for that group."""


def holds_host_binaries(name: str) -> bool:
    """Tell whether a directory of this name holds programs that run on the host only."""
    return name in _HOST_BINARIES


def is_reserved(name: str) -> bool:
    """Tell whether a name belongs to LuminaGuard: neither sent into a guest nor taken back."""
    return name.casefold().startswith(".luminaguard")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line of an ignore file; `pathspec` translates it, the matching is git's.

    Git asks about a path itself and never about what lies above it, since it does not go into an
    ignored directory: so `!/a` says nothing about `a/x`.
    """

    regex: re.Pattern[str]
    ignores: bool
    """False for a negated rule."""
    only_directories: bool

    def matches(self, path: str, *, is_directory: bool) -> bool:
        if self.only_directories and not is_directory:
            return False
        # Where pathspec's expression also accepts what lies below, its group marks the slash.
        accepts = self.regex.fullmatch if _BELOW in self.regex.groupindex else self.regex.match
        return accepts(f"{path}/" if self.only_directories else path) is not None


class RuleFile:
    """The rules of one ignore file, which count for paths below `directory`."""

    def __init__(self, lines: Iterable[str], *, directory: str = "", above: str = "") -> None:
        """Compile the rules.

        Args:
            lines: Of the file.
            directory: Where the file lies, relative to the workspace root.
            above: Where the workspace root lies, relative to a file that lies above it.
        """
        self._cut = len(directory) + 1 if directory else 0
        self._above = f"{above}/" if above else ""
        self._rules: list[_Rule] = []
        self._names: set[str] = set()
        endings: list[str] = []
        self._others: list[_Rule] = []
        for line in lines:
            rule = _compiled(line)
            if rule is not None:
                self._rules.append(rule)
                self._sort(line, rule, endings)
        self._rules.reverse()
        self._endings = tuple(endings)

    def _sort(self, line: str, rule: _Rule, endings: list[str]) -> None:
        """Put a rule where it can be ruled out fast: most are a plain name or `*.ending`.

        Only ruled out: what may match goes through the full rules, with their order and negations.
        """
        plain = line.rstrip().removeprefix("!").removesuffix("/")
        tail = plain.removeprefix("*")
        if "\\" in plain or "/" in plain or line != line.strip():
            self._others.append(rule)
        elif not _has_glob(plain):
            self._names.add(plain)
        elif plain.startswith("*") and tail and not _has_glob(tail):
            endings.append(tail)
        else:
            self._others.append(rule)

    def judge(self, path: str, name: str, *, is_directory: bool) -> bool | None:
        """Return True (ignored), False (kept by a negated rule) or None (no rule matches)."""
        may_match = name in self._names or name.endswith(self._endings)
        if not may_match and not self._others:
            return None
        seen = self._above + path[self._cut :]
        if not may_match and not _any(self._others, seen, is_directory=is_directory):
            return None
        for rule in self._rules:
            if rule.matches(seen, is_directory=is_directory):
                return rule.ignores
        return None


def _compiled(line: str) -> _Rule | None:
    if not line.strip() or line.startswith("#"):
        return None
    try:
        pattern = GitIgnoreSpecPattern(line)
    except ValueError:
        return None  # not a pattern to git either, which then matches nothing
    regex = cast("re.Pattern[str] | None", pattern.regex)  # pyright: ignore[reportUnknownMemberType] - its stub leaves the string type open
    if pattern.include is None or regex is None:
        return None
    return _Rule(regex, pattern.include, line.rstrip().endswith("/"))


def _any(rules: list[_Rule], path: str, *, is_directory: bool) -> bool:
    return any(rule.matches(path, is_directory=is_directory) for rule in rules)


@dataclass(slots=True, kw_only=True)
class IgnoreRules:
    """All ignore rules of one workspace; a scan adds the nested files as it meets them."""

    fallbacks: Sequence[RuleFile] = ()
    """Rule files beyond the tree's own `.gitignore`s, strongest first."""
    tracked: frozenset[str] = frozenset()
    """What git tracks is sent even where it matches."""
    include: Sequence[str] = ()
    """Patterns of `--include`: sent and taken back whatever the rules or the secret list say."""
    _nested: dict[str, RuleFile] = field(default_factory=dict[str, RuleFile], init=False)
    _tracked_folders: frozenset[str] = field(default=frozenset(), init=False)
    _included: GitIgnoreSpec | None = field(default=None, init=False)
    _caches: RuleFile = field(default_factory=lambda: RuleFile(CACHES), init=False)
    _folders: dict[str, bool] = field(default_factory=dict[str, bool], init=False)

    def __post_init__(self) -> None:
        """Derive what is asked often."""
        self._tracked_folders = folders_of(self.tracked)
        if self.include:
            self._included = GitIgnoreSpec.from_lines(self.include, backend="simple")

    @property
    def has_includes(self) -> bool:
        """True when something ignored may have to be sent."""
        return self._included is not None

    def learn(self, directory: str, lines: Iterable[str]) -> None:
        """Take in the `.gitignore` that lies in `directory`."""
        self._nested[directory] = RuleFile(lines, directory=directory)
        self._folders.clear()

    def forget(self) -> None:
        """Drop the nested files, before they are read again."""
        self._nested.clear()
        self._folders.clear()

    def is_included(self, path: str, *, is_directory: bool = False) -> bool:
        """Tell whether `--include` names this path or a directory above it."""
        if self._included is None:
            return False
        return self._included.match_file(f"{path}/" if is_directory else path)

    def is_tracked(self, path: str) -> bool:
        """Tell whether git tracks the path, or anything in it."""
        return path in self.tracked or path in self._tracked_folders

    def is_ignored(self, path: str, *, is_directory: bool) -> bool:
        """Tell whether rules match this very path; the directories above it are not looked at."""
        parent, _, name = path.rpartition("/")
        if path == ".git" or path.startswith(".git/"):
            return False
        while True:
            rules = self._nested.get(parent)
            if rules is not None:
                ruling = rules.judge(path, name, is_directory=is_directory)
                if ruling is not None:
                    return ruling
            if not parent:
                break
            parent = parent.rpartition("/")[0]
        for rules in (*self.fallbacks, self._caches):
            ruling = rules.judge(path, name, is_directory=is_directory)
            if ruling is not None:
                return ruling
        return False

    def is_scratch(self, path: str, *, is_directory: bool) -> bool:
        """Tell whether what a guest makes here is not taken back: it, or a directory above it."""
        if self.is_included(path, is_directory=is_directory):
            return False
        parent = path.rpartition("/")[0]
        if parent and self._is_scratch_folder(parent):
            return True
        name = path.rpartition("/")[2]
        if is_directory and holds_host_binaries(name):
            return True
        return self.is_ignored(path, is_directory=is_directory)

    def _is_scratch_folder(self, path: str) -> bool:
        known = self._folders.get(path)
        if known is None:
            known = self._folders[path] = self.is_scratch(path, is_directory=True)
        return known


def _has_glob(pattern: str) -> bool:
    return any(character in "*?[]" for character in pattern)
